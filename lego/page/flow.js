// Where each variable is known, and whom the answers follow.
const layerName = (k) => (k ? String(k) : "0 (embedding)");

cards("flow", "resolve", (run, found, card) => {
  const lens = run.probe.lens,
    told = html("output", { "aria-live": "polite" }),
    grid = html("div", { class: "maps" });
  const kinds = { [`${found.method} readout`]: found.accuracy, "its control": found.control };
  if (lens) Object.assign(kinds, { "lens: accuracy": lens.accuracy, "lens: probability": lens.probability });
  const show = choice(Object.keys(kinds), draw);
  function draw() {
    const name = show.selectedOptions[0].textContent,
      values = kinds[name],
      readout = values === found.accuracy;
    const framed = (layer, position) => readout && found.resolved[position] === layer;
    const made = map({
      caption: `${name}, by layer and ${run.unit}`,
      corner: "after block",
      told,
      rows: values.map((_, layer) => layerName(layer)),
      columns: values[0].map((_, position) => String(position)),
      scale: "plain",
      value: (layer, position) => values[layer][position],
      look: (layer, position) => ({ framed: framed(layer, position) }),
      words: (layer, position) =>
        `after block ${layerName(layer)}, position ${position}: ${number(values[layer][position])}` +
        (readout
          ? `, control ${number(found.control[layer][position])}${framed(layer, position) ? "; resolved here" : ""}`
          : ""),
    });
    grid.replaceChildren(made.element);
  }
  draw();
  card.append(
    note(`${found.rows} sentences.`),
    controls({ show }),
    grid,
    told,
    note(
      "Resolved after block: " +
        found.resolved
          .map((layer, position) => `position ${position}: ${known(layer) ? layer : "never"}`)
          .join(", ") +
        ".",
    ),
  );
});

cards("fingerprint", "fingerprint", (run, found, card) => {
  const kinds = { chain: colour(0), shortcut: colour(4), neither: "var(--line)" };
  const inks = { chain: "#fff", shortcut: "#000", neither: "var(--ink)" };
  const bar = (one) =>
    html(
      "div",
      { class: "bar", "aria-hidden": "true" },
      ...Object.keys(kinds)
        .filter((kind) => one[kind])
        .map((kind) =>
          html(
            "span",
            { style: `width: ${100 * one[kind]}%; background: ${kinds[kind]}; color: ${inks[kind]}` },
            one[kind] >= 0.2 ? number(one[kind], 2) : "",
          ),
        ),
    );
  const between = (one, kind) =>
    `${number(one[kind], 2)} (${number(one[`${kind}_low`], 2)} – ${number(one[`${kind}_high`], 2)})`;
  const whole = (child) => {
    const one = html("td");
    one.append(child);
    return one;
  };
  const shortcuts = found.answerers.filter((one) => one.asked);
  card.append(
    html("p", {}, "Verdict: ", html("strong", {}, known(found.verdict) ? found.verdict : "not given"), "."),
    html(
      "div",
      { class: "legend" },
      ...Object.entries(kinds).map(([kind, hue]) =>
        html(
          "span",
          {},
          html("span", { class: "swatch", style: `background: ${hue}` }, "\u00a0"),
          ` as ${kind === "neither" ? "neither" : `the ${kind}`}`,
        ),
      ),
    ),
    table(
      ["shortcut", "its questions' answers", "asked"],
      shortcuts.map((one) => [cell(one.answerer), whole(bar(one)), cell(String(one.asked))]),
    ),
    asTable("All shares with their intervals", () =>
      table(
        ["answerer", "asked", "as the chain", "as the shortcut", "neither", "agreement", "control", "excess"],
        found.answerers.map((one) => [
          cell(one.answerer),
          cell(String(one.asked)),
          ...["chain", "shortcut", "neither", "agreement"].map((kind) => cell(between(one, kind))),
          cell(number(one.control, 2)),
          cell(between(one, "excess")),
        ]),
      ),
    ),
  );
});
