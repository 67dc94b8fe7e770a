// The atlas of heads: layers by heads, coloured by role or shaded by a measure.
const EDGES = ["association", "chain", "operator", "argument", "clause", "local", "self", "separator"];
const ROLE_COLOURS = {
  association: "#0072b2",
  chain: "#009e73",
  operator: "#d55e00",
  argument: "#56b4e9",
  clause: "#cc79a7",
  local: "#e69f00",
  self: "#8c6bb1",
  separator: "#7a7a7a",
};
// Letters for those who cannot tell the colours, white or black by which is the easier to read.
const LETTERS = { self: "sf", separator: "sp" }; // of the others, the first two
const short = (role) =>
  role
    .split(" + ")
    .map((one) => LETTERS[one] || one.slice(0, 2))
    .join("+");
const LEANS = 0.2; // of what chance leaves
const DARK = ["#0072b2"];
function roleStyle(role) {
  if (role === "none") return "--share: 0";
  const [first, second = first] = role.split(" + ").map((one) => ROLE_COLOURS[one] || "#7a7a7a");
  const text = DARK.includes(first) && DARK.includes(second) ? "#fff" : "#000";
  const halo = first === second ? "" : "; text-shadow: 0 0 2px #fff, 0 0 3px #fff, 0 0 4px #fff";
  return `background: linear-gradient(135deg, ${first} 50%, ${second} 50%); color: ${text}${halo}`;
}

cards("heads", "heads", (run, heads, card) => {
  const layers = Math.max(...heads.map((h) => h.layer)) + 1,
    wide = Math.max(...heads.map((h) => h.head)) + 1;
  const at = range(layers).map((l) =>
    range(wide).map((h) => heads.find((one) => one.layer === l && one.head === h)),
  );
  const edges = EDGES.filter((edge) => known(heads[0][edge]));
  const chance = (head, edge) =>
    known(head[`${edge}_chance`]) ? head[`${edge}_chance`] : (run.probe.uniform || {})[edge];
  // The edge that a head without a role leans to: the one with the largest excess, if it is enough.
  const lean = (head) => {
    const excess = (edge) =>
      known(head[`${edge}_low`]) ? (head[`${edge}_low`] + head[`${edge}_high`]) / 2 : 0;
    const best = edges.reduce((a, b) => (excess(b) > excess(a) ? b : a));
    return head.role === "none" && excess(best) >= LEANS ? best : null;
  };
  const told = html("output", { "aria-live": "polite" });
  const kept = ((run.probe.circuit || {}).smallest || []).map(String);
  const grid = html("div", { class: "maps" }),
    shown = html("div");
  const measure = choice(["role", ...edges, ...(known(heads[0].entropy) ? ["entropy"] : [])], draw);
  const words = (l, h) => {
    const head = at[l][h],
      name = measure.selectedOptions[0].textContent;
    if (!head) return `layer ${l} has no head ${h}`;
    const more = kept.includes(`${l},${h}`) ? "; in the smallest circuit" : "";
    const leaning = lean(head) ? `, leans to ${lean(head)}` : "";
    return `layer ${l} head ${h}: ${head.role}${leaning}${name === "role" ? "" : `, ${name} ${number(head[name])}`}${more}`;
  };
  const face = (head) => {
    const edge = lean(head);
    if (edge) return { style: `--share: 0.3; --hue: ${ROLE_COLOURS[edge]}`, text: `(${short(edge)})` };
    return { style: roleStyle(head.role), text: head.role === "none" ? "·" : short(head.role) };
  };
  function draw() {
    const name = measure.selectedOptions[0].textContent,
      byRole = name === "role";
    const most = name === "entropy" ? Math.max(...heads.map((h) => h.entropy), 1e-9) : 1;
    const made = map({
      caption: byRole ? "Roles, by layer and head" : `${name}, by layer and head`,
      corner: "layer",
      rows: range(layers).map(String),
      columns: range(wide).map(String),
      told,
      most,
      words,
      scale: byRole ? "" : "plain",
      value: (l, h) => (at[l][h] && !byRole ? at[l][h][name] : null),
      look: (l, h) => (byRole && at[l][h] ? { ...face(at[l][h]), framed: kept.includes(`${l},${h}`) } : {}),
      picked: (l, h) => at[l][h] && show(at[l][h], made),
    });
    const roles = [...new Set(heads.flatMap((h) => [...h.role.split(" + "), lean(h)]))].filter(
      (role) => role && role !== "none",
    );
    grid.replaceChildren(made.element);
    if (!byRole) return;
    made.element.append(
      html(
        "div",
        { class: "legend" },
        ...roles.map((role) =>
          html(
            "span",
            {},
            html("span", { class: "swatch", style: roleStyle(role) }, short(role)),
            ` ${role}`,
          ),
        ),
        html("span", {}, "· none"),
        html("span", {}, `( ) no role, but the excess is ${LEANS} or more`),
      ),
    );
    if (kept.length) made.element.append(html("p", {}, "Framed: the smallest circuit, see below."));
  }
  function show(head, made) {
    for (const row of made.cells) for (const one of row) one.removeAttribute("aria-selected");
    made.cells[head.layer][head.head].setAttribute("aria-selected", "true");
    const open = html("button", { type: "button" }, "Look at its attention");
    open.addEventListener("click", () => {
      lookAt(data.runs.indexOf(run), head.layer, head.head);
    });
    shown.replaceChildren(
      html("h4", {}, `Layer ${head.layer} head ${head.head}: ${head.role}`),
      table(
        ["edge", "share", "chance", "excess, low", "high"],
        edges.map((edge) => [
          cell(edge),
          cell(number(head[edge])),
          cell(number(chance(head, edge))),
          cell(number(head[`${edge}_low`], 2)),
          cell(number(head[`${edge}_high`], 2)),
        ]),
        "Its numbers",
      ),
      ...profile(head),
      run.probe.sentences ? open : "",
    );
  }
  const profile = (head) => {
    const points = Object.keys(head)
      .filter((key) => /^offset_-?\d+$/.test(key))
      .map((key) => [Number(key.slice(7)), head[key]])
      .sort((a, b) => a[0] - b[0]);
    return points.length
      ? [
          chart({
            label: "Attention by offset",
            xLabel: "tokens to the right",
            yLabel: "share",
            whole: true,
            xs: [points[0][0], points[points.length - 1][0]],
            ys: [0, 1],
            series: [{ name: "share", colour: colour(0), points }],
          }),
        ]
      : [];
  };
  draw();
  card.append(
    note(`Measured on ${run.probe.probed}.`),
    controls({ measure }),
    grid,
    told,
    shown,
    asTable("All heads as a table", () =>
      table(
        ["layer", "head", "role", ...edges],
        heads.map((h) => [
          cell(String(h.layer)),
          cell(String(h.head)),
          cell(h.role),
          ...edges.map((edge) => cell(number(h[edge]))),
        ]),
      ),
    ),
  );
});
