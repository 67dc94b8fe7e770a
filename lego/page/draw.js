// What all sections draw with: elements, tables, charts, maps.
const data = JSON.parse(document.getElementById("data").textContent);
// Okabe and Ito's palette, told apart by colour-blind readers too.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7a7a7a"];
const colour = (k) => COLOURS[k % COLOURS.length];
const known = (x) => x !== null && x !== undefined;
const number = (x, digits = 3) => (known(x) ? x.toFixed(digits) : "–");
const range = (count) => Array.from({ length: count }, (_, k) => k);
const clip = (v, low, high) => Math.min(Math.max(v, low), high);
const mean = (xs) => (xs.length ? xs.reduce((a, b) => a + b, 0) / xs.length : null);
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// ---- elements: html(tag, attributes, ...children), svg(...) alike
function make(space, tag, attributes, children) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const html = (tag, attributes = {}, ...children) => make(null, tag, attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  make("http://www.w3.org/2000/svg", tag, attributes, children);
const section = (name) => document.getElementById(name);
const note = (...text) => html("p", { class: "note" }, ...text);
const controls = (selects) => html("div", { class: "controls" },
  ...Object.entries(selects).map(([name, select]) => html("label", {}, `${name} `, select)));

function fill(select, names) {
  const before = select.selectedIndex;
  select.replaceChildren(...names.map((name, k) => html("option", { value: k }, name)));
  select.selectedIndex = clip(before, 0, names.length - 1);
}
function choice(names, changed) {
  const select = html("select");
  fill(select, names);
  select.addEventListener("change", changed);
  return select;
}

// ---- a card a run; a run without what the section shows says how to get it
function cards(name, key, draw) {
  const grid = html("div", { class: "runs wide" });
  for (const run of data.runs) {
    if (known(run.probe[key])) {
      const card = html("div", {}, html("h3", {}, run.folder));
      draw(run, run.probe[key], card);
      grid.append(card);
      continue;
    }
    const why = (run.probe.missing || {})[key];
    section(name).append(why ? note(`Not to be had for ${run.folder}: ${why}.`)
      : note(`Not measured for ${run.folder}; this does it: `, html("code", {}, run.command)));
  }
  if (grid.children.length) section(name).append(grid);
}

function table(head, rows, label = "Table") {
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, html("table", {},
    html("thead", {}, html("tr", {}, ...head.map((text) => html("th", { scope: "col" }, text)))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row)))));
}
const cell = (text, attributes = {}) => html("td", attributes, text);
// The same numbers as text; made when it is opened, so that the page is there at once.
function asTable(summary, contents) {
  const details = html("details", {}, html("summary", {}, summary));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(contents());
  });
  return details;
}

function legend(entries) {
  return html("div", { class: "legend" }, ...entries.map(({ name, colour, dash }) => html("span", {},
    svg("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" },
      svg("line", { x1: 0, y1: 5, x2: 30, y2: 5, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash || "none" })),
    " ", name)));
}

// ---- a chart of series {name, points: [x, y], colour, dash, marks: [filled?]}, with its numbers
function chart({ label, xLabel, yLabel, xs, ys, series, chance, whole }) {
  const W = 420, H = 230, left = 46, right = 10, top = 10, bottom = 38;
  const x = (v) => left + (W - left - right) * (xs[1] === xs[0] ? 0.5 : (v - xs[0]) / (xs[1] - xs[0]));
  const y = (v) => H - bottom - (H - top - bottom) * (v - ys[0]) / (ys[1] - ys[0] || 1);
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${label}. Arrow keys read the numbers.`, tabindex: "0" });
  const ticks = (ends, count) => range(count + 1).map((k) => ends[0] + (ends[1] - ends[0]) * k / count);
  const step = Math.max(1, Math.ceil((xs[1] - xs[0]) / 12));
  const xTicks = whole ? ticks(xs, xs[1] - xs[0] || 1).filter((_, k) => k % step === 0) : ticks(xs, 4);
  for (const v of ticks(ys, 4)) {
    picture.append(svg("line", { class: "axis", x1: left, x2: W - right, y1: y(v), y2: y(v) }),
      svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, ys[1] > 10 ? v.toFixed(0) : v.toFixed(2)));
  }
  for (const v of xTicks)
    picture.append(svg("text", { x: x(v), y: H - bottom + 15, "text-anchor": "middle" }, String(Math.round(v))));
  picture.append(svg("text", { x: (left + W - right) / 2, y: H - 5, "text-anchor": "middle" }, xLabel),
    svg("text", { x: -(top + H - bottom) / 2, y: 11, "text-anchor": "middle", transform: "rotate(-90)" }, yLabel));
  if (known(chance))
    picture.append(svg("line", { class: "chance", x1: left, x2: W - right, y1: y(chance), y2: y(chance) }),
      svg("text", { x: W - right, y: y(chance) - 4, "text-anchor": "end" }, "chance"));
  for (const one of series) {
    const path = one.points.map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    picture.append(svg("path", { d: path, fill: "none", stroke: one.colour, "stroke-width": 2, "stroke-dasharray": one.dash || "none" }));
    for (const [k, filled] of (one.marks || []).entries())
      picture.append(svg("circle", { cx: x(one.points[k][0]), cy: y(one.points[k][1]), r: 4, stroke: one.colour, "stroke-width": 2, style: `fill: ${filled ? one.colour : "var(--paper)"}` }));
  }
  const places = [...new Set(series.flatMap((one) => one.points.map(([a]) => a)))].sort((a, b) => a - b);
  const values = (place) => series.map((one) => (one.points.find(([a]) => a === place) || [])[1]);
  const line = svg("line", { class: "here", y1: top, y2: H - bottom, visibility: "hidden" });
  picture.append(line);
  const told = html("output", { "aria-live": "polite" });
  let at = -1;
  function read(k) {
    if (!places.length) return;
    at = clip(k, 0, places.length - 1);
    line.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) line.setAttribute(end, x(places[at]));
    told.textContent = `${xLabel.split(" (")[0]} ${places[at]}: ` + values(places[at])
      .map((v, s) => `${series[s].name} ${number(v)}`).join(", ");
  }
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(), here = (event.clientX - box.left) / box.width * W;
    read(places.reduce((best, v, k) => (Math.abs(x(v) - here) < Math.abs(x(places[best]) - here) ? k : best), 0));
  });
  picture.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    read(at + ARROWS[event.key][1]);
  });
  return html("div", {}, picture, told, asTable("These numbers as a table", () =>
    table([xLabel, ...series.map((one) => one.name)], places.map((place) =>
      [cell(String(place)), ...values(place).map((v) => cell(number(v)))]))));
}

// The class of a text on a background of that share of the heat: from where black and white change
// places as the one that is easier to read, in dark mode (mid) and in light mode (strong).
const inkOn = (share, cold = false) => {
  const [mid, strong] = cold ? [0.55, 0.84] : [0.52, 0.71];
  return share > strong ? "strong" : share > mid ? "mid" : "";
};
const brief = (v) => number(v, 2).replace(/^-0\.00$/, "0.00").replace(/^(-?)0\./, "$1.");

// ---- a map: a table of cells shaded by |value| / most, in another hue below 0. Its cells are gone
// through by the arrow keys; `told` gets the words of the cell under the pointer or the focus.
// `look` gives a cell a text, style or frame of its own; `scale` is "signed", "plain" or none.
function map({ caption, corner, rows, columns, value, words, told, most = 1, look, picked, scale: rampFor }) {
  const cells = rows.map((_, r) => columns.map((_, c) => {
    const v = value(r, c), share = known(v) ? clip(Math.abs(v) / most, 0, 1) : 0;
    const own = look ? look(r, c) : {};
    const one = html("td", {
      role: "gridcell", tabindex: "-1", "aria-label": words(r, c),
      class: `${own.style ? "" : inkOn(share, v < 0)}${own.framed ? " framed" : ""}`,
      style: own.style || `--share: ${share.toFixed(3)}${v < 0 ? "; --hue: var(--cold)" : ""}`,
    }, own.text === undefined ? brief(v) : own.text);
    if (picked) one.dataset.pick = `${r} ${c}`;
    for (const seen of ["pointerenter", "focus"]) one.addEventListener(seen, () => { told.textContent = words(r, c); });
    one.addEventListener("click", () => { go(r, c); if (picked) picked(r, c); });
    return one;
  }));
  let at = [0, 0];
  function go(r, c, focus = true) {
    if (!rows.length || !columns.length) return;
    cells[at[0]][at[1]].tabIndex = -1;
    at = [clip(r, 0, rows.length - 1), clip(c, 0, columns.length - 1)];
    cells[at[0]][at[1]].tabIndex = 0;
    if (focus) cells[at[0]][at[1]].focus();
  }
  go(0, 0, false);
  const whole = html("table", { class: "map", role: "grid", "aria-label": caption },
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, corner), ...columns.map((name) => html("th", { scope: "col" }, name)))),
    html("tbody", {}, ...rows.map((name, r) => html("tr", {}, html("th", { scope: "row" }, name), ...cells[r]))));
  whole.addEventListener("keydown", (event) => {
    const move = ARROWS[event.key];
    if (move) go(at[0] + move[0], at[1] + move[1]);
    else if (picked && ["Enter", " "].includes(event.key)) picked(...at);
    else return;
    event.preventDefault();
  });
  const scale = rampFor ? ramp(most, rampFor === "signed") : "";
  return { element: html("div", {}, html("p", {}, caption), html("div", { class: "scroll" }, whole), scale), cells };
}
function ramp(most = 1, signed = false) {
  const from = signed ? "var(--cold)," : "", digits = most < 0.1 ? 3 : 2;
  return html("div", { class: "ramp" }, signed ? (-most).toFixed(digits) : "0",
    html("i", { style: `background: linear-gradient(90deg, ${from} var(--tint), var(--heat))` }), most.toFixed(digits));
}
