"""Trackers get the numbers of metrics.jsonl; one that is not installed is refused."""

import pytest
from runs import metrics, write

from lego.cli import main
from lego.settings import TRACKERS
from lego.train import run


def numbers(name, value):
    """(name, number) for each number inside a line, lists and mappings taken apart."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [pair for key, inner in items for pair in numbers(f"{name}/{key}", inner)]
    return [] if value is None else [(name, value)]


def test_tensorboard_reads_what_metrics_say(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(write(tmp_path, trackers=["tensorboard"], steps=10), {})
    events = EventAccumulator(str(folder / "trackers" / "lego"))
    events.Reload()
    told = {
        (tag, event.step): event.value
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
        if not tag.endswith("examples_per_second")
    }
    expected = {
        (f"{line['split']}/{name}", line["step"]): value
        for line in metrics(folder)
        for field, part in line.items()
        if field not in ("step", "split")
        for name, value in numbers(field, part)
    }
    assert told == pytest.approx(expected)
    assert {"train/loss", "test/accuracy_per_position/5"} <= {tag for tag, _ in told}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lego.record.find_spec", lambda name: None)
    assert main(["train", str(write(tmp_path)), f"trackers=[{name}]"]) == 2
    said = capsys.readouterr().err
    installed = "installed ones; pip install 'lego-reasoning[trackers]'"
    assert said == f"lego: trackers='{name}': allowed {installed}\n"
    assert not (tmp_path / "run").exists()
