// What each run is, what it learned, and when.
section("runs").append(
  ...data.runs.map((run) =>
    html(
      "div",
      {},
      html("strong", {}, run.folder),
      html("dl", {}, ...run.facts.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)])),
    ),
  ),
);

for (const group of data.groups) {
  const runs = group.runs.map((k) => data.runs[k]),
    count = runs[0].accuracy.length;
  const beyond = runs.some((run) => run.trained.includes(false));
  const series = runs.map((run, k) => {
    const asked = run.accuracy.map((a, p) => [p, a]).filter(([, a]) => a !== null);
    return { name: run.folder, points: asked, colour: colour(k), marks: asked.map(([p]) => run.trained[p]) };
  });
  section("accuracy").append(
    html("h2", {}, `Accuracy by ${group.unit}`),
    note(
      "On the test split, at the end of training. " +
        (beyond
          ? "Filled dots: training had labels there. Hollow dots, and shaded italics in the table: it never had."
          : "Training had labels on all of them."),
    ),
    legend(runs.map((run, k) => ({ name: `${run.name} (${run.folder})`, colour: colour(k) }))),
    html(
      "div",
      { style: "max-width: 36rem" },
      chart({
        label: `Accuracy by ${group.unit}`,
        xLabel: `${group.unit} (0 is the first)`,
        yLabel: "accuracy",
        xs: [0, count - 1],
        ys: [0, 1],
        series,
        chance: group.chance,
        whole: true,
      }),
    ),
    table(
      ["run", ...range(count).map(String)],
      runs.map((run) => [
        cell(run.folder),
        ...run.accuracy.map((a, p) =>
          cell(number(a), run.trained[p] ? {} : { class: "untrained", title: "no label in training" }),
        ),
      ]),
    ),
  );
}

section("curves").append(
  html(
    "div",
    { class: "runs wide" },
    ...data.runs.map((run) => {
      const points = run.curves.validation || [],
        train = run.curves.train || [];
      const last = Math.max(1, ...points.map((p) => p.step), ...train.map((p) => p.step));
      const series = run.accuracy.map((_, k) => ({
        name: `${k}`,
        colour: colour(k),
        dash: run.trained[k] ? "" : "5 4",
        points: points.filter((p) => k < p.by.length && p.by[k] !== null).map((p) => [p.step, p.by[k]]),
      }));
      const top = Math.max(0.1, ...train.map((p) => p.loss));
      const parts = [
        html("h3", {}, run.folder),
        html("h4", {}, "Validation accuracy"),
        legend(series),
        chart({
          label: `Validation accuracy of ${run.folder}`,
          xLabel: "step",
          yLabel: "accuracy",
          xs: [0, last],
          ys: [0, 1],
          series,
        }),
        html("h4", {}, "Training loss"),
        chart({
          label: `Training loss of ${run.folder}`,
          xLabel: "step",
          yLabel: "loss",
          xs: [0, last],
          ys: [0, top],
          series: [{ name: "loss", colour: colour(0), points: train.map((p) => [p.step, p.loss]) }],
        }),
      ];
      const shortcuts = Object.keys((points[points.length - 1] || {}).followed || {}).map((name, k) => ({
        name,
        colour: colour(k),
        points: points
          .filter((p) => p.followed && known(p.followed[name]))
          .map((p) => [p.step, p.followed[name]]),
      }));
      if (shortcuts.length)
        parts.push(
          html("h4", {}, "Shortcuts followed"),
          note("The share of answers as a shortcut has them, where the chain has them otherwise."),
          legend(shortcuts),
          chart({
            label: `Shortcuts followed by ${run.folder}`,
            xLabel: "step",
            yLabel: "share",
            xs: [0, last],
            ys: [0, 1],
            series: shortcuts,
          }),
        );
      const found = run.followed;
      parts.push(html("h4", {}, "Whom the answers follow, by checkpoint"), note(found.missing || found.said));
      if (found.steps) {
        const colours = { chain: "var(--ink)" };
        for (const one of shortcuts) colours[one.name] = one.colour; // as above
        const followed = Object.entries(found.excess).map(([name, excess], k) => ({
          name,
          colour: colours[name] || colour(k),
          points: excess.map((v, at) => [found.steps[at], v]).filter(([, v]) => known(v)),
        }));
        parts.push(
          note(
            "How far the answers agree with the chain's, or a shortcut's, beyond the same answers dealt " +
              "to other questions: 1 when all do.",
          ),
          legend(followed),
          chart({
            label: `Whom the answers of ${run.folder} follow`,
            xLabel: "step",
            yLabel: "excess over control",
            xs: [0, last],
            ys: [followed.some((one) => one.points.some(([, v]) => v < -0.1)) ? -1 : 0, 1],
            series: followed,
            chance: found.level,
            level: "followed",
          }),
        );
      }
      return html("div", {}, ...parts);
    }),
  ),
);

section("curves")
  .ownerDocument.querySelector("nav")
  .append(
    ...[...document.querySelectorAll("section")]
      .filter((one) => one.querySelector("h2"))
      .map((one) => html("a", { href: `#${one.id}` }, one.querySelector("h2").textContent)),
  );
