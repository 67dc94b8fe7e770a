// Ablation, circuits, patching: what happens when something is taken out, or put in.
const ALL = "all positions";

// What is lost by rows of lego.probes.ablate: at one position, or the mean over all.
function lost(rows, fits, position) {
  return mean(
    rows
      .filter((row) => fits(row) && (position === null || row.position === position))
      .map((row) => row.intact - row.accuracy),
  );
}
const greatest = (values) => Math.max(0.05, ...values.filter(known).map(Math.abs));

cards("ablation", "ablation", (run, found, card) => {
  const told = html("output", { "aria-live": "polite" }),
    grids = html("div", { class: "maps" });
  const positions = [...new Set(found.heads.map((row) => row.position))].sort((a, b) => a - b);
  const position = choice([ALL, ...positions.map((p) => `position ${p}`)], draw);
  const unique = (rows, name) => [...new Set(rows.map((row) => row[name]))];
  function losses(
    caption,
    corner,
    rows,
    columns,
    value,
    names = (r, c) => `${corner} ${rows[r]}, ${columns[c]}`,
  ) {
    const most = greatest(rows.flatMap((_, r) => columns.map((_, c) => value(r, c))));
    return map({
      caption,
      corner,
      rows,
      columns,
      told,
      most,
      value,
      scale: "signed",
      words: (r, c) => `${names(r, c)}: accuracy falls by ${number(value(r, c))}`,
    }).element;
  }
  function draw() {
    const chosen = position.selectedIndex ? positions[position.selectedIndex - 1] : null;
    const layers = unique(found.heads, "layer"),
      heads = unique(found.heads, "head");
    const byPosition = (rows, name, kinds) => (r, c) =>
      lost(rows, (row) => row[name] === kinds[r], positions[c]);
    const columns = positions.map(String);
    const parts = [
      losses(
        "Heads, replaced by their mean",
        "layer",
        layers.map(String),
        heads.map((h) => `head ${h}`),
        (r, c) => lost(found.heads, (row) => row.layer === layers[r] && row.head === heads[c], chosen),
      ),
    ];
    parts.push(
      losses(
        `Blocks, left out, by ${run.unit}`,
        "block",
        layers.map(String),
        columns,
        byPosition(found.layers, "layer", layers),
        (r, c) => `block ${layers[r]}, position ${positions[c]}`,
      ),
    );
    const edges = unique(found.edges, "edge");
    if (edges.length)
      parts.push(
        losses(
          `Edges, knocked out in all layers, by ${run.unit}`,
          "edge",
          edges,
          columns,
          byPosition(found.edges, "edge", edges),
          (r, c) => `edge ${edges[r]}, position ${positions[c]}`,
        ),
      );
    const named = (row) =>
      `${row.conv.replace(/^model\.layers\./, "block ").replaceAll(".", " ")} ${row.tap}`;
    const taps = [...new Set(found.taps.map(named))];
    if (taps.length)
      parts.push(
        losses(
          `Taps of the convolutions, by ${run.unit}`,
          "tap",
          taps,
          columns,
          (r, c) => lost(found.taps, (row) => named(row) === taps[r], positions[c]),
          (r, c) => `${taps[r]}, position ${positions[c]}`,
        ),
      );
    grids.replaceChildren(...parts);
  }
  draw();
  card.append(note(`${found.rows} sentences.`), controls({ "heads at": position }), grids, told);
  if (run.probe.circuit) card.append(...circuit(run.probe.circuit));
});

function circuit(found) {
  const points = found.curve
    .map((row) => [row.size, row.faithfulness])
    .filter(([, v]) => known(v))
    .reverse();
  const accuracy = found.curve.map((row) => [row.size, row.accuracy]).reverse();
  const series = [
    { name: "faithfulness", colour: colour(0), points },
    { name: "accuracy", colour: colour(1), dash: "5 4", points: accuracy },
  ];
  const byLayer = {};
  for (const [layer, head] of found.smallest) (byLayer[layer] = byLayer[layer] || []).push(head);
  const low = Math.min(0, ...points.map(([, v]) => v)),
    high = Math.max(1, ...points.map(([, v]) => v));
  return [
    html("h4", {}, `Circuit (${found.method})`),
    note(
      `The smallest faithful one has ${found.smallest.length} of ${found.curve[0].size} heads: ` +
        Object.entries(byLayer)
          .map(([layer, heads]) => `layer ${layer} head${heads.length > 1 ? "s" : ""} ${heads.join(", ")}`)
          .join("; ") +
        ".",
    ),
    legend(series),
    chart({
      label: "Circuits by size",
      xLabel: "heads left",
      yLabel: "share",
      xs: [0, found.curve[0].size],
      ys: [low, high],
      series,
    }),
  ];
}

cards("patching", "patching", (run, found, card) => {
  const told = html("output", { "aria-live": "polite" }),
    grids = html("div", { class: "maps" });
  const answers = range(found.heads[0][0].length).filter((answer) =>
    found.heads.flat().some((one) => known(one[answer])),
  );
  const answer = choice(
      answers.map((k) => `${k} hops away`),
      draw,
    ),
    part = choice(found.parts, draw);
  function draw() {
    const hops = answers[answer.selectedIndex],
      p = part.selectedIndex,
      distances = range(found.stream[0][p].length);
    const effect = (name) => (r, c) => name(r, c)[hops];
    const both = [
      {
        caption: `The stream at the ${found.parts[p]} of a clause, by depth and distance`,
        corner: "after block",
        rows: found.stream.map((_, k) => layerName(k)),
        columns: distances.map((d) => `${d} hops`),
        value: effect((r, c) => found.stream[r][p][c]),
        words: (r, c) => `after block ${layerName(r)}, ${c} hops away`,
      },
      {
        caption: "What each head gathers, at all tokens",
        corner: "layer",
        rows: found.heads.map((_, k) => String(k)),
        columns: found.heads[0].map((_, k) => `head ${k}`),
        value: effect((r, c) => found.heads[r][c]),
        words: (r, c) => `layer ${r} head ${c}`,
      },
    ];
    grids.replaceChildren(
      ...both.map(
        (one) =>
          map({
            ...one,
            told,
            scale: "signed",
            words: (r, c) => `${one.words(r, c)}: effect ${number(one.value(r, c))}`,
          }).element,
      ),
    );
  }
  if (!answers.length) {
    card.append(note("No answer differed in the sentences that were read."));
    return;
  }
  draw();
  card.append(note(`${found.rows / 2} pairs of sentences.`), controls({ answer, part }), grids, told);
});
