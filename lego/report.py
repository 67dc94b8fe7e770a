"""Runs on one self-contained HTML page: what they learned, when, and what the probes found.

The page is made of the files in ``lego/page``. What a run was not probed for is left out, with the
command that does it.
"""

from __future__ import annotations

import base64
import html
import json
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from lego.corpus import whole_file
from lego.probes.plain import plain
from lego.record import METRICS, read_metrics
from lego.settings import Settings, read_settings
from lego.task import SettingError, require

PAGE = Path(__file__).with_name("page")
# In this order.
SCRIPTS = (
    "draw", "chart", "map", "training", "heads", "attention", "flow", "interventions",
)  # fmt: skip
SOLVED = 0.99  # a position is learned from this accuracy on
# Of probe.json, besides the sentences.
SECTIONS = ("heads", "uniform", "resolve", "lens", "fingerprint", "ablation", "patching", "circuit")
PROBED_ROWS = 200  # examples for the heads of a run that was not probed


@dataclass(frozen=True)
class Run:
    """What a page tells of one run; everything is read from its folder."""

    folder: Path
    settings: Settings
    metrics: list[dict[str, Any]]  # the lines of metrics.jsonl
    config: dict[str, Any]  # the model's
    parameters: int
    probe: dict[str, Any]
    followed: dict[str, Any]  # see ``_followed``

    @property
    def last(self) -> dict[str, Any]:
        """The last line on the test split."""
        return [line for line in self.metrics if line["split"] == "test"][-1]

    @property
    def trained(self) -> list[bool]:
        """For each position of ``last``, whether training ever had a label there."""
        seen: set[int] = set()
        for line in self.metrics:
            if line["split"] == "train":
                given = enumerate(line["accuracy_per_position"])
                seen |= {k for k, accuracy in given if accuracy is not None}
        return [k in seen for k in range(len(self.last["accuracy_per_position"]))]

    @property
    def causal(self) -> bool:
        return "CausalLM" in self.config["architectures"][0]

    @property
    def unit(self) -> str:
        """What accuracies are given by."""
        return "trace step" if self.causal else "chain position"


def read_run(folder: str) -> Run:
    """Read a finished run; its heads are probed now if ``probe.json`` is missing.

    Raises SettingError when the folder is no run, or the run has not ended.
    """
    path = Path(folder)
    more = "the folder of a finished run (lego train CONFIG.yaml ends with it, or goes on)"
    for name in ("config.yaml", METRICS, "model/config.json"):
        require((path / name).is_file(), "RUN", folder, f"{more}; it has no {name}")
    settings = read_settings(path / "config.yaml", {})
    metrics = read_metrics(path)
    tested = any(line["split"] == "test" for line in metrics)
    require(tested, "RUN", folder, f"{more}; its metrics have no test split")
    config = json.loads((path / "model/config.json").read_text())
    looked_at = _probed(path, settings), _followed(path, settings)
    return Run(path, settings, metrics, config, _parameters(path / "model"), *looked_at)


def _parameters(folder: Path) -> int:
    """The numbers in the safetensors files of a model; tied weights are stored once."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                size = 1
                for extent in tensors.get_slice(name).get_shape():
                    size *= extent
                total += size
    return total


def _probed(path: Path, settings: Settings) -> dict[str, Any]:
    if (path / "probe.json").is_file():
        return json.loads((path / "probe.json").read_text())
    from lego.loading import load_model
    from lego.probes.run import probe
    from lego.train import open_training

    source = open_training(settings)
    model = load_model(str(path / "model"), source.task)
    return probe(model, source, "test", PROBED_ROWS, brief=True)


def _followed(path: Path, settings: Settings) -> dict[str, Any]:
    """Whom the answers follow at the checkpoints that a run has kept: their ``steps``, the
    ``excess`` of each answerer, ``level``, what the verdict asks of it, and ``said``, which verdict
    came first and when each was left; or ``missing``, why that is not to be had."""
    from lego.checkpoint import checkpoints

    count = len(checkpoints(path))
    if count < 2:
        said = f"this run kept {count}; keep_checkpoints in its config keeps more"
        return {"missing": f"Two checkpoints or more show whom the answers follow: {said}."}
    from lego.probes.shortcuts import FOLLOWED, history, over_training
    from lego.train import open_training

    try:
        source = open_training(settings)
        found = over_training(path, source, "test", PROBED_ROWS, progress=True)
    except SettingError as error:
        return {"missing": f"Whom the answers follow at each checkpoint is not known: {error}"}
    steps = found.index.unique("step").tolist()
    told = [
        f"{name} from step {line['first']:,.0f}"
        + ("" if isnan(line["left"]) else f", left at {line['left']:,.0f}")
        for name, line in history(found).to_dict("index").items()
    ]
    excess = found["excess"].unstack("answerer", sort=False).loc[steps]
    return {
        "steps": steps,
        "excess": {name: plain(excess[name].to_numpy()) for name in excess},
        "level": FOLLOWED,
        "said": f"{count} checkpoints, {PROBED_ROWS} rows of test each. Verdicts: "
        f"{'; '.join(told)}.",
    }


def sentence_about(run: Run) -> str:
    """What a run's accuracies say: did it learn where it had labels, and does it go beyond?"""
    accuracies = run.last["accuracy_per_position"]
    asked = [k for k, accuracy in enumerate(accuracies) if accuracy is not None]
    supervised = [accuracies[k] for k in asked if run.trained[k]]
    beyond = [accuracies[k] for k in asked if not run.trained[k]]
    lowest, count = min(supervised, default=0.0), f"{len(supervised)} supervised {run.unit}s"
    if not supervised:
        return (
            f"{run.settings.model}: {_listed(beyond)}; its metrics tell of no labels in training."
        )
    reached = "reaches" if lowest >= SOLVED else f"does not reach {SOLVED} everywhere:"
    said = f"{run.settings.model} {reached} {lowest:.3f} or more on its {count}"
    if beyond:
        said += f", and {_listed(beyond)} on the {len(beyond)} that it never had a label for"
    return f"{said}."


def _listed(numbers: Sequence[float]) -> str:
    *head, last = (f"{number:.3f}" for number in numbers)
    return f"{', '.join(head)} and {last}" if head else last


def _facts(run: Run) -> list[tuple[str, str]]:
    settings, config = run.settings, run.config
    layers = (
        f"{config['num_hidden_layers']}{' (tied)' if config.get('num_hidden_groups') == 1 else ''}"
    )
    data = settings.corpus or f"{settings.task}, sampled on the fly"
    return [
        ("Model", settings.model),
        ("Parameters", f"{run.parameters:,}"),
        ("Layers", layers),
        ("Data", f"{data}{f', {settings.preset}' if settings.preset else ''}"),
        ("Seed", str(settings.seed)),
        ("Steps", f"{run.last['step']:,} of {settings.batch} examples"),
        ("Learning rate", f"{settings.lr:g}, {settings.schedule}"),
        ("Tested on", f"{settings.eval_rows:,} examples"),
        ("Made by", f"lego train {run.folder}/config.yaml"),
    ]


def _for_page(run: Run) -> dict[str, Any]:
    curves: dict[str, list[dict[str, Any]]] = {}
    for line in run.metrics:
        point = {"step": line["step"], "loss": line["loss"], "by": line["accuracy_per_position"]}
        followed = {name: one["shortcut"] for name, one in line.get("shortcuts", {}).items()}
        curves.setdefault(line["split"], []).append(point | {"followed": followed})
    return {
        "name": run.settings.model,
        "unit": run.unit,
        "folder": str(run.folder),
        "facts": _facts(run),
        "sentence": sentence_about(run),
        "command": _probing(run),
        "accuracy": run.last["accuracy_per_position"],
        "trained": run.trained,
        "curves": curves,
        "followed": run.followed,
        "probe": _measured(run.probe),
    }


def _probing(run: Run) -> str:
    """The command that writes the run's ``probe.json``."""
    settings = run.settings
    words = ["lego", "probe", f"{run.folder}/model", settings.corpus or settings.task]
    words += ["--preset", settings.preset] if settings.preset else []
    if not settings.corpus:
        words += [f"{name}={json.dumps(value)}" for name, value in settings.fields.items()]
    return shlex.join([*words, "--out", f"{run.folder}/probe.json"])


def _measured(probe: dict[str, Any]) -> dict[str, Any]:
    """The sections of ``probe.json`` that the page draws, maps of attention deflated."""
    sentences = [one | {"attention": _deflated(one["attention"])} for one in probe["sentences"]]
    measured = {name: probe[name] for name in (*SECTIONS, "missing") if name in probe}
    probed = f"{probe['rows']} rows of {probe['split']}"
    return measured | {"sentences": sentences, "probed": probed}


def _deflated(encoded: str) -> str:
    return base64.b64encode(zlib.compress(base64.b64decode(encoded), 9)).decode()


def page_data(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page draws: the runs, and groups of those whose accuracies compare."""
    groups: dict[tuple[bool, int], list[int]] = {}
    for k, run in enumerate(runs):
        key = (run.causal, len(run.last["accuracy_per_position"]))
        groups.setdefault(key, []).append(k)
    return {
        "solved": SOLVED,
        "runs": [_for_page(run) for run in runs],
        "groups": [
            {
                "unit": runs[members[0]].unit,
                "chance": None if causal else 1 / len(runs[members[0]].config["id2label"]),
                "runs": members,
            }
            for (causal, _), members in groups.items()
        ],
    }


def write_report(folders: Sequence[str], out: str) -> None:
    """Draw runs on one page, the main one first; it opens from disk without a network.

    Raises SettingError when a folder is not that of a finished run; then nothing is written.
    """
    data = page_data([read_run(folder) for folder in folders])
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    said = "".join(f"<p>{html.escape(run['sentence'])}</p>\n" for run in data["runs"])
    scripts = "".join((PAGE / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    parts = {
        "/* STYLE */": (PAGE / "page.css").read_text("utf-8"),
        "/* SCRIPT */": scripts,
        "<!-- SENTENCES -->": said,
        "/* DATA */": text,
    }
    page = (PAGE / "page.html").read_text("utf-8")
    for place, part in parts.items():
        page = page.replace(place, part)
    with whole_file(Path(out)) as temporary:
        temporary.write_text(page, "utf-8")
    print(f"{out}: {len(page) / 1e6:.2f} MB")
