"""The report in a real browser: what is drawn, hovered, clicked and typed, against its files."""

import base64
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import yaml
from browser import PROGRAM, Browser

from lego.cli import main
from lego.train import run

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium or Chrome is installed to open the page in"
)
TINY = {
    "preset": "z2-n6", "model_fields": {"num_hidden_layers": 2}, "steps": 4, "batch": 8,
    "log_every": 2, "eval_every": 2, "eval_rows": 20, "threads": 1,
}  # fmt: skip
TOLD = "document.querySelector('#attention output').textContent"
WORDS = "[...document.querySelectorAll('.words')[0].querySelectorAll('button')]"
SIZES = {"wide": (1100, 900, False), "dark": (1100, 900, True), "phone": (360, 740, False)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, alike but for their names: ``probed``, and ``plain``, which was not probed."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"run": str(folder / "plain")}))
    run(folder / "tiny.yaml", {})
    shutil.copytree(folder / "plain", folder / "probed")
    model, out = str(folder / "probed/model"), str(folder / "probed/probe.json")
    probe = ["probe", model, "chains", "--preset", "z2-n6", "--rows", "40", "--out", out]
    assert main(probe) == 0
    page = folder / "report.html"
    assert main(["report", str(folder / "probed"), str(folder / "plain"), "--out", str(page)]) == 0
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "probed/probe.json").read_text())


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser, folder):
    browser.open(folder / "report.html")
    browser.until(f"{TOLD} !== ''")
    return browser


def weights(found, sentence=0):
    """(layers, heads, query, key) float64, as they are told: of two digits."""
    one = found["sentences"][sentence]
    whole = np.frombuffer(base64.b64decode(one["attention"]), np.uint8)
    return whole.reshape(one["shape"]) / 255


@pytest.mark.parametrize("size", SIZES)
def test_it_opens_at_each_size_and_asks_for_nothing_else(browser, folder, size, tmp_path):
    width, height, dark = SIZES[size]
    browser.open(folder / "report.html", width, height, dark)
    browser.until(f"{TOLD} !== ''")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.requests() == [(folder / "report.html").as_uri()]
    assert browser.errors() == []
    light = (
        browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert light is not dark
    browser.screenshot(tmp_path / "page.png", whole=True)
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("dark", [False, True])
def test_the_numbers_of_all_maps_can_be_read_on_their_shades(browser, folder, dark):
    browser.open(folder / "report.html", dark=dark)
    worst = browser.evaluate("""(() => {
      const parse = (text) => {
        const parts = text.match(/[\\d.]+/g).map(Number);
        return text.startsWith("color(") ? parts : parts.map((v) => v / 255);
      };
      const light = (text) => parse(text).slice(0, 3)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
      const contrast = (element) => {
        const style = getComputedStyle(element);
        const two = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
        return (two[1] + 0.05) / (two[0] + 0.05);
      };
      const cell = document.querySelector("#flow td");
      const all = [];
      for (const hue of ["--heat", "--cold"])
        for (let k = 0; k <= 100; k++) { // every shade, not only those of this run
          cell.style.cssText = `--hue: var(${hue}); --share: ${k / 100}`;
          cell.className = inkOn(k / 100, hue === "--cold");
          all.push(contrast(cell));
        }
      return Math.min(...all);
    })()""")
    assert worst >= 4.5  # what WCAG 2 asks of small text


def test_the_pointer_and_the_arrow_keys_read_the_attention_map(page, found):
    held, tokens = weights(found), found["sentences"][0]["tokens"]
    steps = found["sentences"][0]["steps"]
    names = [f"{t} •{s}" if s >= 0 else t for t, s in zip(tokens, steps, strict=True)]
    size, edge = 15, 70
    side = edge + size * len(tokens)

    def told(layer, head, q, k):
        return f"{names[q]} (token {q}) → {names[k]} (token {k}): {held[layer, head, q, k]:.2f}"

    page.hover("canvas", (edge + 9.5 * size) / side, (edge + 3.5 * size) / side)
    assert page.text("#attention output") == told(0, 0, 3, 9)
    page.click("canvas", (edge + 9.5 * size) / side, (edge + 3.5 * size) / side)
    page.evaluate("document.querySelector('canvas').focus()")
    page.press("ArrowDown", "ArrowLeft", "ArrowLeft")
    assert page.text("#attention output") == told(0, 0, 4, 7)
    page.choose("#layer", 1)
    page.choose("#head", 1)
    page.until(f"{TOLD} === {json.dumps(told(1, 1, 4, 7))}")
    shares = page.evaluate(f"{WORDS}.map((b) => b.title)")
    assert shares == [f"{w:.2f}" for w in held[1, 1, 4]]


def test_in_chain_order_clauses_stand_in_the_order_of_the_chain(page, found):
    page.choose("#order", 1)
    page.until(f"{WORDS}[1].textContent.endsWith('•0')")
    drawn = page.evaluate(f"{WORDS}.map((b) => b.textContent)")
    assert [int(word.split("•")[1]) for word in drawn if "•" in word] == list(range(6))
    assert drawn[0] == "[CLS]" and drawn[-1] == "[SEP]"
    clauses = [drawn[1 + 5 * k : 6 + 5 * k] for k in range(6)]
    for before, after in pairwise(clauses):
        assert before[0].split(" ")[0] == after[3]  # what is defined is what is used next


def test_two_models_are_compared_on_one_sentence(page, found):
    assert page.evaluate("document.querySelectorAll('canvas')[1].offsetWidth") == 0
    page.click("#compare")
    page.until("document.querySelectorAll('canvas')[1].offsetWidth > 0")
    assert page.evaluate("document.querySelector('#run-B').selectedIndex") == 1
    page.until(f"{TOLD}.includes('map B')")
    told = page.text("#attention output").split(": ")[1]
    same = f"{weights(found)[0, 0, 0, 0]:.2f}"  # the two runs have the same weights
    assert told == f"map A {same}, map B {same}"


def test_the_atlas_is_gone_through_by_keys_and_leads_to_the_viewer(page, found):
    page.click("#heads td")
    page.press("ArrowDown", "ArrowRight", "Enter")
    head = found["heads"][3]
    assert page.text("#heads h4") == f"Layer 1 head 1: {head['role']}"
    rows = page.evaluate(
        "[...document.querySelectorAll('#heads [aria-label=\"Its numbers\"] tr')]"
        ".map((row) => row.innerText.split(/\\s+/))"
    )
    shares = {row[0]: row[1] for row in rows if row[0] in head}
    assert shares["association"] == f"{head['association']:.3f}"
    page.click("#heads button")
    for name in ("#layer", "#head"):
        assert page.evaluate(f"document.querySelector('{name}').selectedIndex") == 1
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"


def test_every_number_of_a_map_is_there_for_a_screen_reader(page, found):
    said = page.evaluate(
        "[...document.querySelectorAll('#flow td')].map((c) => c.getAttribute('aria-label'))"
    )
    numbers = [f": {value:.3f}, control" for row in found["resolve"]["accuracy"] for value in row]
    assert len(said) == len(numbers)
    assert all(number in words for number, words in zip(numbers, said, strict=True))


def test_the_tab_key_comes_by_every_part(page):
    page.evaluate("document.activeElement.blur()")
    seen = set()
    for _ in range(120):
        page.press("Tab")
        seen.add(
            page.evaluate("""(() => {
            const here = document.activeElement, section = here.closest("section, nav");
            const outlined = getComputedStyle(here).outlineStyle !== "none";
            return `${section && section.id} ${here.tagName.toLowerCase()} ${outlined}`;
        })()""")
        )
    for part in (
        " a", "accuracy svg", "curves svg", "heads td", "heads select", "attention canvas",
        "attention button", "flow td", "fingerprint summary", "ablation td", "patching td",
    ):  # fmt: skip
        assert f"{part} true" in seen, part


def test_the_chart_reads_its_numbers_aloud(page, folder):
    page.evaluate("document.querySelector('#curves svg[tabindex]').focus()")
    page.press("ArrowRight", "ArrowRight")
    told = page.text("#curves output")
    lines = [
        json.loads(line) for line in (folder / "probed/metrics.jsonl").read_text().splitlines()
    ]
    (last,) = (x for x in lines if x["split"] == "validation" and x["step"] == 4)
    numbers = ", ".join(f"{k} {v:.3f}" for k, v in enumerate(last["accuracy_per_position"]))
    assert told == f"step 4: {numbers}"


def test_what_was_not_measured_is_left_out_with_the_command(page, folder):
    for name in ("flow", "fingerprint", "ablation", "patching"):
        assert f"lego probe {folder}/plain/model" in page.text(f"#{name}")
        assert page.evaluate(f"document.querySelectorAll('#{name} .runs > div').length") == 1


def test_a_model_of_twelve_by_twelve_heads_fits(browser, folder, found, tmp_path):
    shutil.copytree(folder / "probed", tmp_path / "large")
    generator = np.random.default_rng(0)
    length, large = 62, dict(found)
    head, sentence = found["heads"][0], found["sentences"][0]
    large["heads"] = [head | {"layer": k // 12, "head": k % 12} for k in range(144)]
    noise = generator.integers(0, 256, (12, 12, length, length), np.uint8)  # cannot be packed
    large["sentences"] = 6 * [
        sentence | {
            "tokens": length * ["a"], "steps": length * [-1], "clauses": length * [-1],
            "shape": list(noise.shape), "attention": base64.b64encode(noise.tobytes()).decode(),
        }
    ]  # fmt: skip
    (tmp_path / "large/probe.json").write_text(json.dumps(large))
    out = tmp_path / "large.html"
    assert main(["report", str(tmp_path / "large"), "--out", str(out)]) == 0
    assert out.stat().st_size < 15e6
    browser.open(out)
    browser.until(f"{TOLD} !== ''")
    assert browser.errors() == []
    assert browser.evaluate("document.querySelectorAll('#heads td').length") == 144
