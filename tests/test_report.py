"""The report: what it says comes from the run's files, and it needs nothing from outside."""

import base64
import json
import re
import shlex
import shutil
import zlib
from html.parser import HTMLParser

import pytest
import yaml

from lego.cli import main
from lego.probes.run import SECTIONS
from lego.record import read_metrics
from lego.report import read_run, sentence_about
from lego.train import run

TINY = {
    "preset": "z2-n6",
    "model_fields": {"num_hidden_layers": 2},
    "steps": 4,
    "batch": 8,
    "log_every": 2,
    "eval_every": 2,
    "eval_rows": 20,
    "threads": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"run": str(folder / "run")}))
    return run(folder / "tiny.yaml", {})


@pytest.fixture(scope="module")
def page(finished):
    out = finished.parent / "report.html"
    assert main(["report", str(finished), str(finished), "--out", str(out)]) == 0
    return out


def embedded(page):
    text = page.read_text()
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


def test_the_page_holds_what_the_files_say(page, finished):
    data = embedded(page)
    assert [one["folder"] for one in data["runs"]] == [str(finished)] * 2
    (group,) = data["groups"]
    assert group == {"unit": "chain position", "chance": 0.5, "runs": [0, 1]}
    lines = read_metrics(finished)
    one = data["runs"][0]
    tested = [line for line in lines if line["split"] == "test"]
    assert one["accuracy"] == tested[-1]["accuracy_per_position"]
    assert [point["step"] for point in one["curves"]["validation"]] == [2, 4]
    assert one["trained"] == [True] * 4 + [False] * 2
    assert len(one["probe"]["heads"]) == 2 * 2
    assert one["probe"]["sentences"][0]["shape"] == [2, 2, 32, 32]
    for split in ("validation", "test"):
        followed = [
            line["shortcuts"]["root"]["shortcut"] for line in lines if line["split"] == split
        ]
        assert [point["followed"]["root"] for point in one["curves"][split]] == followed


def test_a_probe_that_was_made_is_not_made_again(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    probe = ["probe", str(folder / "model"), "chains", "--preset", "z2-n6", "--rows", "30"]
    assert main([*probe, "--out", str(folder / "probe.json")]) == 0
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    (one,) = embedded(tmp_path / "page.html")["runs"]
    made = json.loads((folder / "probe.json").read_text())
    assert one["probe"]["probed"] == "30 rows of test"
    for name in ("heads", *SECTIONS, "missing"):
        assert one["probe"][name] == made[name], name
    for drawn, given in zip(one["probe"]["sentences"], made["sentences"], strict=True):
        packed = zlib.decompress(base64.b64decode(drawn["attention"]))
        assert packed == base64.b64decode(given["attention"])


def test_a_run_that_was_not_probed_is_told_the_command(page, finished, tmp_path):
    one = embedded(page)["runs"][0]
    assert not set(SECTIONS) & one["probe"].keys()
    words = shlex.split(one["command"])
    assert words[0] == "lego" and words[-1] == str(finished / "probe.json")
    out = tmp_path / "probe.json"
    assert main([*words[1:-1], str(out), "--rows", "10"]) == 0
    assert json.loads(out.read_text())["rows"] == 10


def test_the_page_asks_for_nothing_from_outside(page):
    class Links(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attrs):
            self.found += tuple(v for k, v in attrs if k in ("src", "href", "srcset", "data"))

    links = Links()
    links.feed(page.read_text())
    assert links.found == ()
    assert "default-src 'none'" in page.read_text()
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|url\(|import\(|fetch\(", page.read_text()
    )
    assert page.stat().st_size < 5e6


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([1, 1, 0.999, 0.993, 0.9, 0.55], "reaches 0.993 or more on its 4 supervised chain "
         "positions, and 0.900 and 0.550 on the 2 that it never had a label for."),
        ([1, 1, 0.98, 0.5, 0.9, 0.55], "does not reach 0.99 everywhere: 0.500 or more on its 4"),
    ],
)  # fmt: skip
def test_the_page_says_whether_the_positions_were_learned(finished, tmp_path, accuracies, said):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    with (folder / "metrics.jsonl").open("a") as file:
        line = {"step": 9, "split": "test", "loss": 1.0, "accuracy_per_position": accuracies}
        file.write(json.dumps(line) + "\n")
    assert said in sentence_about(read_run(str(folder)))


def without(name):
    def damage(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "it has no config.yaml"),
        (without("metrics.jsonl"), "it has no metrics.jsonl"),
        (without("model"), "it has no model/config.json"),
        (lambda folder: (folder / "metrics.jsonl").write_text(""), "no test split"),
    ],
)
def test_what_is_no_finished_run_is_refused(finished, tmp_path, capsys, damage, message):
    folder, out = tmp_path / "run", tmp_path / "page.html"
    shutil.copytree(finished, folder)
    damage(folder)
    assert main(["report", str(folder), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith(f"lego: RUN={str(folder)!r}: allowed ") and message in line
    assert not out.exists()
