// Maps: tables of shaded cells.
// The class of a text on a background of that share of the heat: from where black and white change
// places as the one that is easier to read, in dark mode (mid) and in light mode (strong).
const inkOn = (share, cold = false) => {
  const [mid, strong] = cold ? [0.55, 0.84] : [0.52, 0.71];
  return share > strong ? "strong" : share > mid ? "mid" : "";
};
const brief = (v) =>
  number(v, 2)
    .replace(/^-0\.00$/, "0.00")
    .replace(/^(-?)0\./, "$1.");

// ---- a map: a table of cells shaded by |value| / most, in another hue below 0. Its cells are gone
// through by the arrow keys; `told` gets the words of the cell under the pointer or the focus.
// `look` gives a cell a text, style or frame of its own; `scale` is "signed", "plain" or none.
function map({ caption, corner, rows, columns, value, words, told, most = 1, look, picked, scale: rampFor }) {
  const cells = rows.map((_, r) =>
    columns.map((_, c) => {
      const v = value(r, c),
        share = known(v) ? clip(Math.abs(v) / most, 0, 1) : 0;
      const own = look ? look(r, c) : {};
      const one = html(
        "td",
        {
          role: "gridcell",
          tabindex: "-1",
          "aria-label": words(r, c),
          class: `${own.style ? "" : inkOn(share, v < 0)}${own.framed ? " framed" : ""}`,
          style: own.style || `--share: ${share.toFixed(3)}${v < 0 ? "; --hue: var(--cold)" : ""}`,
        },
        own.text === undefined ? brief(v) : own.text,
      );
      if (picked) one.dataset.pick = `${r} ${c}`;
      for (const seen of ["pointerenter", "focus"])
        one.addEventListener(seen, () => {
          told.textContent = words(r, c);
        });
      one.addEventListener("click", () => {
        go(r, c);
        if (picked) picked(r, c);
      });
      return one;
    }),
  );
  let at = [0, 0];
  function go(r, c, focus = true) {
    if (!rows.length || !columns.length) return;
    cells[at[0]][at[1]].tabIndex = -1;
    at = [clip(r, 0, rows.length - 1), clip(c, 0, columns.length - 1)];
    cells[at[0]][at[1]].tabIndex = 0;
    if (focus) cells[at[0]][at[1]].focus();
  }
  go(0, 0, false);
  const whole = html(
    "table",
    { class: "map", role: "grid", "aria-label": caption },
    html(
      "thead",
      {},
      html(
        "tr",
        {},
        html("th", { scope: "col" }, corner),
        ...columns.map((name) => html("th", { scope: "col" }, name)),
      ),
    ),
    html(
      "tbody",
      {},
      ...rows.map((name, r) => html("tr", {}, html("th", { scope: "row" }, name), ...cells[r])),
    ),
  );
  whole.addEventListener("keydown", (event) => {
    const move = ARROWS[event.key];
    if (move) go(at[0] + move[0], at[1] + move[1]);
    else if (picked && ["Enter", " "].includes(event.key)) picked(...at);
    else return;
    event.preventDefault();
  });
  const scale = rampFor ? ramp(most, rampFor === "signed") : "";
  return {
    element: html("div", {}, html("p", {}, caption), html("div", { class: "scroll" }, whole), scale),
    cells,
  };
}
function ramp(most = 1, signed = false) {
  const from = signed ? "var(--cold)," : "",
    digits = most < 0.1 ? 3 : 2;
  return html(
    "div",
    { class: "ramp" },
    signed ? (-most).toFixed(digits) : "0",
    html("i", { style: `background: linear-gradient(90deg, ${from} var(--tint), var(--heat))` }),
    most.toFixed(digits),
  );
}
