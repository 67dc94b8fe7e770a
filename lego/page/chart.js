// Charts of lines, with their legends and their numbers.
function legend(entries) {
  return html(
    "div",
    { class: "legend" },
    ...entries.map(({ name, colour, dash }) =>
      html(
        "span",
        {},
        svg(
          "svg",
          { viewBox: "0 0 30 10", "aria-hidden": "true" },
          svg("line", {
            x1: 0,
            y1: 5,
            x2: 30,
            y2: 5,
            stroke: colour,
            "stroke-width": 2.5,
            "stroke-dasharray": dash || "none",
          }),
        ),
        " ",
        name,
      ),
    ),
  );
}

// ---- a chart of series {name, points: [x, y], colour, dash, marks: [filled?]}, with its numbers
function chart({ label, xLabel, yLabel, xs, ys, series, chance, level = "chance", whole }) {
  const W = 420,
    H = 230,
    left = 46,
    right = 18,
    top = 10,
    bottom = 38;
  const x = (v) => left + (W - left - right) * (xs[1] === xs[0] ? 0.5 : (v - xs[0]) / (xs[1] - xs[0]));
  const y = (v) => H - bottom - ((H - top - bottom) * (v - ys[0])) / (ys[1] - ys[0] || 1);
  const picture = svg("svg", {
    viewBox: `0 0 ${W} ${H}`,
    role: "img",
    "aria-label": `${label}. Arrow keys read the numbers.`,
    tabindex: "0",
  });
  const ticks = (ends, count) => range(count + 1).map((k) => ends[0] + ((ends[1] - ends[0]) * k) / count);
  const step = Math.max(1, Math.ceil((xs[1] - xs[0]) / 12));
  // Numbers below are whole: a short run would have some twice.
  const xTicks = whole || xs[1] - xs[0] <= 12 ? ticks(xs, xs[1] - xs[0] || 1).filter((_, k) => k % step === 0) : ticks(xs, 4);
  for (const v of ticks(ys, 4)) {
    picture.append(
      svg("line", { class: "axis", x1: left, x2: W - right, y1: y(v), y2: y(v) }),
      svg(
        "text",
        { x: left - 6, y: y(v) + 4, "text-anchor": "end" },
        ys[1] > 10 ? v.toFixed(0) : v.toFixed(2),
      ),
    );
  }
  for (const v of xTicks)
    picture.append(
      svg("text", { x: x(v), y: H - bottom + 15, "text-anchor": "middle" }, String(Math.round(v))),
    );
  picture.append(
    svg("text", { x: (left + W - right) / 2, y: H - 5, "text-anchor": "middle" }, xLabel),
    svg(
      "text",
      { x: -(top + H - bottom) / 2, y: 11, "text-anchor": "middle", transform: "rotate(-90)" },
      yLabel,
    ),
  );
  if (known(chance))
    picture.append(
      svg("line", { class: "chance", x1: left, x2: W - right, y1: y(chance), y2: y(chance) }),
      svg("text", { x: W - right, y: y(chance) - 4, "text-anchor": "end" }, level),
    );
  for (const one of series) {
    const path = one.points
      .map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`)
      .join("");
    picture.append(
      svg("path", {
        d: path,
        fill: "none",
        stroke: one.colour,
        "stroke-width": 2,
        "stroke-dasharray": one.dash || "none",
      }),
    );
    // A line of one point would not be seen.
    const marks = one.marks || (one.points.length === 1 ? [true] : []);
    for (const [k, filled] of marks.entries())
      picture.append(
        svg("circle", {
          cx: x(one.points[k][0]),
          cy: y(one.points[k][1]),
          r: 4,
          stroke: one.colour,
          "stroke-width": 2,
          style: `fill: ${filled ? one.colour : "var(--paper)"}`,
        }),
      );
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
    told.textContent =
      `${xLabel.split(" (")[0]} ${places[at]}: ` +
      values(places[at])
        .map((v, s) => `${series[s].name} ${number(v)}`)
        .join(", ");
  }
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(),
      here = ((event.clientX - box.left) / box.width) * W;
    read(
      places.reduce((best, v, k) => (Math.abs(x(v) - here) < Math.abs(x(places[best]) - here) ? k : best), 0),
    );
  });
  picture.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    read(at + ARROWS[event.key][1]);
  });
  return html(
    "div",
    {},
    picture,
    told,
    asTable("These numbers as a table", () =>
      table(
        [xLabel, ...series.map((one) => one.name)],
        places.map((place) => [cell(String(place)), ...values(place).map((v) => cell(number(v)))]),
      ),
    ),
  );
}
