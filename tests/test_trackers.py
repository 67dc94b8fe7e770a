"""Trackers get the numbers of metrics.jsonl; one that is not installed is refused."""

import pytest
from runs import write

from lego.cli import main
from lego.record import read_metrics
from lego.settings import TRACKERS
from lego.train import run


def test_tensorboard_reads_what_metrics_say(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(write(tmp_path, trackers=["tensorboard"], steps=10), {})
    events = EventAccumulator(str(folder / "trackers" / "lego"))
    events.Reload()
    lines = read_metrics(folder)
    assert {line["split"] for line in lines} == {"train", "validation", "test"}
    for line in lines:
        expected = {name: line[name] for name in ("loss", "accuracy", "lr")}
        for position, accuracy in enumerate(line["accuracy_per_position"]):
            expected[f"accuracy_per_position/{position}"] = accuracy
        for name, value in expected.items():
            told = {event.step: event.value for event in events.Scalars(f"{line['split']}/{name}")}
            assert told[line["step"]] == pytest.approx(value)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lego.record.find_spec", lambda name: None)
    assert main(["train", str(write(tmp_path)), f"trackers=[{name}]"]) == 2
    said = capsys.readouterr().err
    installed = "installed ones; pip install 'lego-reasoning[trackers]'"
    assert said == f"lego: trackers='{name}': allowed {installed}\n"
    assert not (tmp_path / "run").exists()
