// The viewer of attention: one or two maps over the same sentence, and its words.
const panes = [];
let order = "as written",
  hovered = { q: 0, k: 0 }; // tokens of the sentence, whatever their order

// base64 of deflated bytes, kept once they are there
const inflated = new Map();
async function weightsOf(sentence) {
  if (!inflated.has(sentence)) {
    const packed = Uint8Array.from(atob(sentence.attention), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    inflated.set(sentence, new Uint8Array(await new Response(stream).arrayBuffer()));
  }
  return inflated.get(sentence);
}
const rgb = (name) => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
  return [0, 2, 4].map((k) => parseInt(full.slice(k, k + 2), 16));
};
// The tokens in the order in which they are drawn; what is in no clause stays first or last.
function arranged(sentence) {
  const places = range(sentence.tokens.length),
    first = sentence.clauses.findIndex((c) => c >= 0);
  const key = (i) => (sentence.clauses[i] < 0 && i > first ? Infinity : sentence.clauses[i]);
  return order === "as written"
    ? places
    : places.sort((a, b) => (key(a) === key(b) ? a - b : key(a) - key(b)));
}

class Pane {
  constructor(letter) {
    this.letter = letter;
    const changed = () => this.load();
    this.pick = {
      run: choice(
        viewable.map((run) => run.folder),
        changed,
      ),
      layer: choice([], changed),
      head: choice([], changed),
    };
    for (const [name, select] of Object.entries(this.pick))
      select.id = letter === "A" ? name : `${name}-${letter}`;
    this.canvas = html("canvas", {
      tabindex: "0",
      role: "img",
      "aria-label": `Attention map ${letter}; arrow keys read its cells`,
    });
    this.mark = html("i");
    this.words = html("div", {
      class: "words",
      role: "group",
      "aria-label": `Words of the sentence, map ${letter}`,
    });
    this.element = html(
      "div",
      {},
      html("h3", {}, `Map ${letter}`),
      controls(this.pick),
      html("div", { class: "scroll" }, html("div", { class: "stage" }, this.canvas, this.mark)),
      this.words,
    );
    for (const seen of ["pointermove", "pointerdown"])
      this.canvas.addEventListener(seen, (event) => {
        const box = this.canvas.getBoundingClientRect(),
          n = this.tokens.length;
        const [r, c] = [event.clientY - box.top, event.clientX - box.left].map((v) =>
          clip(Math.floor((v - this.edge) / this.size), 0, n - 1),
        );
        if (this.order[r] !== hovered.q || this.order[c] !== hovered.k) point(this.order[r], this.order[c]);
      });
    this.canvas.addEventListener("keydown", (event) => {
      const move = ARROWS[event.key],
        n = this.tokens.length;
      if (!move) return;
      event.preventDefault();
      point(
        this.order[clip(this.order.indexOf(hovered.q) + move[0], 0, n - 1)],
        this.order[clip(this.order.indexOf(hovered.k) + move[1], 0, n - 1)],
      );
    });
  }
  get run() {
    return viewable[this.pick.run.selectedIndex];
  }
  get sentence() {
    return this.run.probe.sentences[
      Math.min(whichSentence.selectedIndex, this.run.probe.sentences.length - 1)
    ];
  }
  weight(q, k) {
    const [, H, T] = this.sentence.shape;
    return (
      this.bytes[((this.pick.layer.selectedIndex * H + this.pick.head.selectedIndex) * T + q) * T + k] / 255
    );
  }
  async load() {
    const [layers, heads] = this.sentence.shape;
    fill(
      this.pick.layer,
      range(layers).map((k) => `layer ${k}`),
    );
    fill(
      this.pick.head,
      range(heads).map((k) => {
        const found = this.run.probe.heads.find(
          (h) => h.layer === this.pick.layer.selectedIndex && h.head === k,
        );
        return `head ${k}${found && found.role !== "none" ? ` (${found.role})` : ""}`;
      }),
    );
    const wanted = this.sentence,
      bytes = await weightsOf(wanted);
    if (wanted !== this.sentence) return; // another was picked meanwhile
    this.bytes = bytes;
    this.order = arranged(wanted);
    this.tokens = wanted.tokens.map((t, i) => (wanted.steps[i] >= 0 ? `${t} •${wanted.steps[i]}` : t));
    this.draw();
    point(Math.min(hovered.q, this.tokens.length - 1), Math.min(hovered.k, this.tokens.length - 1));
  }
  draw() {
    const n = this.tokens.length,
      scale = window.devicePixelRatio || 1,
      { canvas, order } = this;
    // As large as there is room for; beyond that the map scrolls.
    const room = Math.floor((canvas.closest(".scroll").clientWidth - 70) / n),
      size = n <= 80 ? clip(room, 11, 15) : n <= 160 ? 8 : 4,
      edge = size >= 8 ? 70 : 4,
      side = edge + n * size;
    Object.assign(this, { size, edge });
    canvas.width = canvas.height = side * scale;
    canvas.style.width = canvas.style.height = `${side}px`;
    const brush = canvas.getContext("2d"),
      style = getComputedStyle(document.documentElement);
    brush.scale(scale, scale);
    brush.font = `${Math.min(11, size)}px system-ui, sans-serif`;
    brush.textBaseline = "middle";
    brush.fillStyle = style.getPropertyValue("--ink");
    for (let i = 0; i < n && size >= 8; i++) {
      const middle = edge + (i + 0.5) * size,
        text = this.tokens[order[i]];
      brush.textAlign = "right";
      brush.fillText(text, edge - 5, middle);
      brush.save();
      brush.translate(middle, edge - 5);
      brush.rotate(-Math.PI / 2);
      brush.textAlign = "left";
      brush.fillText(text, 0, 0);
      brush.restore();
    }
    const heat = rgb("--heat"),
      low = rgb("--tint"),
      gap = size > 4 ? 1 : 0;
    for (let r = 0; r < n; r++)
      for (let c = 0; c < n; c++) {
        const w = this.weight(order[r], order[c]);
        brush.fillStyle = `rgb(${low.map((v, i) => Math.round(v + (heat[i] - v) * w)).join()})`;
        brush.fillRect(edge + c * size, edge + r * size, size - gap, size - gap);
      }
    brush.fillStyle = style.getPropertyValue("--soft");
    const clause = (i) => this.sentence.clauses[order[i]];
    for (let i = 1; i < n; i++)
      if (clause(i) !== clause(i - 1)) {
        brush.fillRect(edge - 12, edge + i * size - 1, side, 1);
        brush.fillRect(edge + i * size - 1, edge - 12, 1, side);
      }
  }
  // The words, each shaded by what the picked query gives it.
  tell() {
    const { q, k } = hovered,
      { size, edge, order } = this;
    Object.assign(this.mark.style, {
      left: `${edge + order.indexOf(k) * size - 1}px`,
      top: `${edge + order.indexOf(q) * size - 1}px`,
      width: `${size + 1}px`,
      height: `${size + 1}px`,
    });
    const held = this.words.contains(document.activeElement),
      groups = [];
    let last = null;
    for (const i of order) {
      const clause = this.sentence.clauses[i],
        w = this.weight(q, i);
      if (clause !== last || !groups.length)
        groups.push(
          html(
            "span",
            {},
            clause >= 0 ? html("small", { title: `clause of chain position ${clause}` }, String(clause)) : "",
          ),
        );
      last = clause;
      const word = html(
        "button",
        {
          type: "button",
          tabindex: i === q ? "0" : "-1",
          "aria-pressed": String(i === q),
          style: `--share: ${w.toFixed(3)}`,
          class: inkOn(w),
          "aria-label": `${this.tokens[i]}, token ${i}, gets ${w.toFixed(2)}`,
          title: w.toFixed(2),
        },
        this.tokens[i],
      );
      word.addEventListener("click", () => point(i, i, this));
      word.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = order[clip(order.indexOf(i) + step, 0, order.length - 1)];
        point(next, next, this);
      });
      groups[groups.length - 1].append(word);
      if (i === q) this.current = word;
    }
    this.words.replaceChildren(...groups);
    if (held) this.current.focus();
  }
}

// Point all maps at a query and a key, and say what they hold.
function point(q, k) {
  hovered = { q, k };
  const ready = panes.filter(
    (pane) => pane.bytes && !pane.element.hidden && q < pane.tokens.length && k < pane.tokens.length,
  );
  for (const pane of ready) pane.tell();
  const one = ready[0];
  if (!one) return;
  const name = (i) => `${one.tokens[i]} (token ${i})`;
  const found = ready
    .map((pane) => (ready.length > 1 ? `map ${pane.letter} ` : "") + pane.weight(q, k).toFixed(2))
    .join(", ");
  viewerTold.textContent = `${name(q)} → ${name(k)}: ${found}`;
}
function lookAt(run, layer, head) {
  const pane = panes[0];
  pane.pick.run.selectedIndex = viewable.indexOf(data.runs[run]);
  fill(
    pane.pick.layer,
    range(data.runs[run].probe.sentences[0].shape[0]).map((k) => `layer ${k}`),
  );
  fill(pane.pick.head, range(data.runs[run].probe.sentences[0].shape[1]).map(String));
  pane.pick.layer.selectedIndex = layer;
  pane.pick.head.selectedIndex = head;
  pane.load();
  section("attention").scrollIntoView();
  pane.canvas.focus({ preventScroll: true });
}

const viewable = data.runs.filter((run) => known(run.probe.sentences));
const viewerTold = html("output", { "aria-live": "polite" });
const reload = () => panes.forEach((pane) => !pane.element.hidden && pane.load());
const whichSentence = choice([], reload);
(function viewer() {
  cards("attention", "sentences", () => {});
  for (const empty of section("attention").querySelectorAll(".runs")) empty.remove();
  if (!viewable.length) return;
  const ordered = choice(["as written", "chain order"], () => {
    order = ordered.selectedOptions[0].textContent;
    reload();
  });
  ordered.disabled = !viewable.some((run) => run.probe.sentences[0].clauses.some((c) => c >= 0));
  const compare = html("input", { type: "checkbox", id: "compare" });
  const most = Math.max(...viewable.map((run) => run.probe.sentences.length));
  fill(
    whichSentence,
    range(most).map((k) => `sentence ${k}`),
  );
  ordered.id = "order";
  whichSentence.id = "sentence";
  panes.push(new Pane("A"), new Pane("B"));
  panes[1].element.hidden = true;
  panes[1].pick.run.selectedIndex = Math.min(1, viewable.length - 1);
  compare.addEventListener("change", () => {
    panes[1].element.hidden = !compare.checked;
    reload();
  });
  section("attention").append(
    controls({ sentence: whichSentence, order: ordered, compare }),
    viewerTold,
    ramp(),
    html("div", { class: "runs wide" }, ...panes.map((pane) => pane.element)),
  );
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", reload);
  addEventListener("resize", reload);
  reload();
})();
