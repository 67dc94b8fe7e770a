// What all sections draw with: elements, controls, cards, tables.
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
const controls = (selects) =>
  html(
    "div",
    { class: "controls" },
    ...Object.entries(selects).map(([name, select]) => html("label", {}, `${name} `, select)),
  );

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
    section(name).append(
      why
        ? note(`Not to be had for ${run.folder}: ${why}.`)
        : note(`Not measured for ${run.folder}; this does it: `, html("code", {}, run.command)),
    );
  }
  if (grid.children.length) section(name).append(grid);
}

function table(head, rows, label = "Table") {
  return html(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    html(
      "table",
      {},
      html("thead", {}, html("tr", {}, ...head.map((text) => html("th", { scope: "col" }, text)))),
      html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row))),
    ),
  );
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
