"""Corpora as their users meet them: made, killed, damaged, verified, loaded."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

import lego
from lego import corpus
from lego.cli import main
from lego.verify import verify


def make(out, *more):
    return main(["make", "chains", str(out), "--preset", "z2-n6", "--workers", "1", *more])


def files(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()
    }


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "small"
    rows = "train=2500,validation=300,test=300"
    assert make(out, "--preset", "z2-n12", "--rows", rows, "--shard-rows", "1000") == 0
    return out


@pytest.fixture
def copy(small, tmp_path):
    for name, content in files(small).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_load_dataset_gives_the_rows_of_the_task(small):
    task = lego.load_task("chains", preset="z2-n12", seed=0)
    rows = datasets.load_dataset(str(small), "z2-n12", split="train")
    assert rows.features == task.features
    assert rows.num_rows == 2500
    assert rows[:] == task.table(task.sample("train", 0, 2500)).to_pydict()
    sliced = datasets.load_dataset(str(small), "z2-n6", split="test[10:20]")
    assert (
        sliced["text"] == lego.dataset(lego.load_task("chains", "z2-n6"), "test", 20)["text"][10:]
    )


def test_load_dataset_streams_the_same_rows(small):
    mapped = datasets.load_dataset(str(small), "z2-n6", split="train")
    streamed = datasets.load_dataset(str(small), "z2-n6", split="train", streaming=True)
    assert list(streamed) == list(mapped)


def test_a_stream_gives_every_row_once_to_workers_and_to_ranks():
    task = lego.load_task("chains", "z2-n6")
    stream = lego.stream(task, "train", rows=250_000).select_columns(["text"]).with_format("arrow")
    whole = [text for table in stream.iter(10_000) for text in table["text"].to_pylist()]
    assert len(whole) == 250_000
    assert whole[:100] == lego.dataset(task, "train", 100)["text"][:]
    parts = [split_dataset_by_node(stream, rank, 2) for rank in (0, 1)]
    texts = [t for part in parts for table in part.iter(10_000) for t in table["text"].to_pylist()]
    assert sorted(texts) == sorted(whole)
    plain = lego.stream(task, "train", rows=200_001).select_columns(["text"])
    loaded = [t for b in DataLoader(plain, 20_000, num_workers=2) for t in b["text"]]
    assert sorted(loaded) == sorted(whole[:200_001])


def test_a_stream_goes_on_from_its_state():
    stream = lego.stream(lego.load_task("chains", "z2-n6"), "test", rows=30_000)
    iterator = iter(stream)
    for _ in range(12_345):
        next(iterator)
    state = stream.state_dict()
    rest = [next(iterator) for _ in range(5)]
    resumed = lego.stream(lego.load_task("chains", "z2-n6"), "test", rows=30_000)
    resumed.load_state_dict(state)
    assert [row for row, _ in zip(resumed, range(5), strict=False)] == rest


def test_workers_shards_and_ray_do_not_change_the_rows(tmp_path):
    rows = ["--rows", "train=2000"]
    make(tmp_path / "one", *rows, "--shard-rows", "500")
    make(tmp_path / "two", *rows, "--shard-rows", "500", "--workers", "2")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    make(tmp_path / "other", *rows, "--shard-rows", "2000")
    tables = [
        pa.concat_tables(
            pq.read_table(path) for path in sorted((tmp_path / name).rglob("*.parquet"))
        )
        for name in ("one", "other")
    ]
    assert tables[0].equals(tables[1])


def test_a_killed_make_goes_on_and_gives_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--rows", "train=60000", "--shard-rows", "3000"]
    make(whole, *more)
    command = [sys.executable, "-m", "lego.cli", "make", "chains", str(killed)]
    command += ["--preset", "z2-n6", "--workers", "1", *more]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(killed.glob("z2-n6/*.parquet"))) < 4:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {p.name: p.stat().st_mtime_ns for p in killed.glob("z2-n6/*.parquet")}
    assert 4 <= len(done) < 20
    assert not (killed / "manifest.json").exists()
    for name in done:  # what has a final name is whole
        assert (killed / "z2-n6" / name).read_bytes() == (whole / "z2-n6" / name).read_bytes()
    reported = [
        json.loads(line) for line in (killed / ".journal.jsonl").read_text().splitlines()[1:]
    ]
    make(killed, *more)
    assert files(killed) == files(whole)
    for record in reported:  # what was reported as done was not made again
        path = killed / record["file"]
        assert path.stat().st_mtime_ns == done[path.name]


def test_a_damaged_shard_is_found_and_made_again(copy, small):
    shard = copy / "z2-n6" / "train-00001-of-00003.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (fault,) = verify(copy, workers=1).faults
    assert fault.startswith("z2-n6/train-00001-of-00003.parquet: sha256=")
    assert main(["verify", str(copy)]) == 1
    make(
        copy,
        "--preset",
        "z2-n12",
        "--rows",
        "train=2500,validation=300,test=300",
        "--shard-rows",
        "1000",
    )
    assert files(copy) == files(small)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("labels", lambda row: row["labels"][::-1]),
        ("labels", lambda row: [1 - v if v >= 0 else v for v in row["labels"]]),
        ("values", lambda row: [1 - row["values"][0], *row["values"][1:]]),
        ("positions", lambda row: row["positions"][::-1]),
        ("clause_order", lambda row: row["clause_order"][::-1]),
        ("input_ids", lambda row: [*row["input_ids"][:-1], 3]),
        ("answer", lambda row: "1" if row["answer"] == "0" else "0"),
        ("prompt", lambda row: row["prompt"] + " "),
        ("text", lambda row: row["text"].replace("val 1", "val 0", 1).replace("not", "val", 1)),
        ("text", lambda row: row["text"].replace(" ,", "", 1)),
        ("shortcut_root", lambda row: [1 - v for v in row["shortcut_root"]]),
    ],
)
def test_one_wrong_cell_is_found_in_its_row(copy, column, change):
    """Even where the digests have been made to agree with the damage."""
    path = copy / "z2-n6" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    assert rows[123][column] != change(rows[123])
    rows[123][column] = change(rows[123])
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["configs"]["z2-n6"]["splits"]["test"]["shards"][0]["sha256"] = corpus.digest(path)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    faults = verify(copy, workers=1).faults
    assert faults and all("test-00000-of-00001.parquet row 123: " in fault for fault in faults)


def test_a_row_of_another_split_is_found(copy):
    other, path = (copy / "z2-n6" / f"{s}-00000-of-00001.parquet" for s in ("validation", "test"))
    manifest = json.loads((copy / "manifest.json").read_text())
    splits = manifest["configs"]["z2-n6"]["splits"]
    path.write_bytes(other.read_bytes())
    splits["test"]["shards"][0]["sha256"] = splits["validation"]["shards"][0]["sha256"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    faults = verify(copy, workers=1).faults
    assert any("owned by another split than 'test'" in fault for fault in faults)
    assert any("300 rows in both validation and test" in fault for fault in faults)


def test_a_clean_corpus_is_called_clean(small, capsys):
    assert main(["verify", str(small)]) == 0
    printed = capsys.readouterr().out
    assert "6,200 rows, clean" in printed
    assert "z2-n6 train: 0 duplicate rows" in printed


def test_duplicates_within_a_split_are_counted(tmp_path):
    main(["make", "chains", str(tmp_path / "X"), "n=1", "--rows", "train=1000", "--workers", "1"])
    space = 52  # 26 names, 2 values, over three splits
    assert 1000 - space <= verify(tmp_path / "X", workers=1).duplicates["n=1", "train"] < 1000


def test_a_config_of_ones_own_loads_by_its_name(tmp_path):
    out = tmp_path / "X"
    fields = ["group=d3", "n=5", "n_tr=3"]
    assert main(["make", "chains", str(out), *fields, "--rows", "test=50", "--workers", "1"]) == 0
    rows = datasets.load_dataset(str(out), "group=d3,n=5,n_tr=3", split="test")
    assert rows.num_rows == 50
    assert verify(out, workers=1).faults == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "train=0"], "rows train=0: allowed a number, 1 or more"),
        (["--rows", "dev=10"], "split='dev': allowed train, validation, test"),
        (["--rows", "train"], "argument='train': allowed field=value"),
        (["--preset", "z2-n6"], "preset='z2-n6': allowed each config once"),
        (["--preset", "nope"], "preset='nope': allowed z2-n6"),
        (["n=0"], "n=0: allowed 1..26"),
        (["n_tr=7"], "n_tr=7: allowed 1..6"),
        (["depth=3"], "field='depth': allowed group, n, n_tr"),
        (["--shard-rows", "0"], "shard_rows=0: allowed 1 or more"),
        (["--engine", "slurm"], "engine='slurm': allowed local, ray"),
        (["--workers", "0"], "workers=0: allowed 1 or more"),
        (["--seed", "-1"], "seed=-1: allowed 0"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, arguments, message):
    assert make(tmp_path / "X", *arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"lego: {message}") and printed.count("\n") == 1
    assert not (tmp_path / "X").exists()


def test_a_folder_with_something_else_is_refused_and_left_alone(small, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert make(tmp_path) == 2
    assert files(tmp_path) == {"notes.txt": b"mine"}
    before = files(small)
    assert make(small, "--rows", "train=2500", "--shard-rows", "1000") == 2
    assert "rows=" in capsys.readouterr().err
    assert make(small, "--preset", "z2-n12", "--seed", "1", "--shard-rows", "1000") == 2
    assert "seed=1: allowed 0" in capsys.readouterr().err
    assert files(small) == before
    assert main(["verify", str(tmp_path)]) == 2


def test_ray_makes_the_same_shards(tmp_path):
    make(tmp_path / "local", "--rows", "train=600", "--shard-rows", "200")
    make(tmp_path / "ray", "--rows", "train=600", "--shard-rows", "200", "--engine", "ray")
    assert files(tmp_path / "local") == files(tmp_path / "ray")


def test_the_card_says_how_to_make_the_corpus_again(small, tmp_path):
    card = (small / "README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("lego make")]
    assert main(line.replace(" OUT ", f" {tmp_path / 'again'} ").split()[1:]) == 0
    assert files(tmp_path / "again") == files(small)


def test_nothing_is_left_of_workers_whose_parent_was_killed(tmp_path):
    command = [sys.executable, "-m", "lego.cli", "make", "chains", str(tmp_path / "X"), "--preset"]
    command += ["z2-n12", "--rows", "train=3000000", "--shard-rows", "50000", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while not list((tmp_path / "X").glob("*/*.parquet")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "workers outlived their parent"
        time.sleep(0.1)


KLEIN = """
name: klein
operators: [stay, low, high, both]
states: ["00", "01", "10", "11"]
action:
  - ["00", "01", "10", "11"]
  - ["01", "00", "11", "10"]
  - ["10", "11", "00", "01"]
  - ["11", "10", "01", "00"]
"""


def test_a_group_from_a_file_goes_into_the_corpus_which_needs_the_file_no_more(tmp_path):
    table, out = tmp_path / "klein.yaml", tmp_path / "X"
    table.write_text(KLEIN)
    command = ["make", "chains", str(out), f"group={table}", "n=4", "--rows", "test=60,train=60"]
    assert main([*command, "--workers", "1"]) == 0
    table.unlink()
    assert verify(out, workers=1).faults == []
    card = (out / "README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("lego make")]
    words = [str(tmp_path / "again") if word == "OUT" else word for word in shlex.split(line)]
    assert main(words[1:]) == 0
    assert files(tmp_path / "again") == files(out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"01", "00", "11", "10"', '"01", "01", "11", "10"'), "group='klein': allowed"),
        (("both]", "low]"), "group='klein': allowed"),
        (("name: klein", "name: klein\\ncolour: red"), "group='klein': allowed the keys"),
        (("operators:", "operators: ["), "group=.*allowed a readable file"),
        (("stay, low", "a, low"), "group='klein': allowed words that mean nothing else, as 'a'"),
    ],
)
def test_a_group_that_breaks_a_law_is_refused_and_nothing_written(
    tmp_path, capsys, change, message
):
    table = tmp_path / "klein.yaml"
    table.write_text(KLEIN.replace(change[0], change[1].replace("\\n", "\n")))
    assert make(tmp_path / "X", f"group={table}") == 2
    printed = capsys.readouterr().err
    assert re.match(f"lego: {message}", printed) and printed.count("\n") == 1
    assert not (tmp_path / "X").exists()


def test_a_pattern_stands_for_all_splits_that_it_fits(tmp_path):
    out = tmp_path / "X"
    assert make(out, "--rows", "train=30,test=20,test*=10") == 0
    splits = datasets.load_dataset(str(out), "z2-n6")
    rest = ("distractor", "longer", "unused", "flipped", "renamed", "ordered")
    expected = {"train": 30, "test": 20} | {f"test_{kind}": 10 for kind in rest}
    assert {name: rows.num_rows for name, rows in splits.items()} == expected
    assert verify(out, workers=1).faults == []


def test_a_unique_corpus_holds_a_whole_space_once(tmp_path, capsys):
    out, fields = tmp_path / "X", ["n=2", "alphabet=6", "unique=true"]
    command = ["make", "chains", str(out), *fields, "--workers", "1"]
    space = 6 * 5 * 2 * 2 * 2
    assert main([*command, "--rows", f"train={space}"]) == 2
    most = int(re.search(r"allowed up to (\d+) ", capsys.readouterr().err)[1])
    assert not out.exists() and 0.7 * space < most < space
    assert main([*command, "--rows", f"train={most}"]) == 0
    verdict = verify(out, workers=1)
    assert verdict.faults == [] and set(verdict.duplicates.values()) == {0}
    assert verdict.rows == most


def test_a_mixture_loads_with_rows_of_their_own_length(tmp_path):
    out = tmp_path / "X"
    command = ["make", "chains", str(out), "--preset", "z2-mix", "--workers", "1"]
    assert main([*command, "--rows", "train=200,test_flipped=40"]) == 0
    rows = datasets.load_dataset(str(out), "z2-mix", split="train")
    for row in rows:
        n = len(row["values"])
        assert len(row["input_ids"]) == len(row["labels"]) == 5 * n + 2
        assert len(row["shortcut_root"]) == len(row["positions"]) == row["asked"] == n
    assert len({len(row["values"]) for row in rows}) == 9
    assert verify(out, workers=1).faults == []


def test_a_corpus_of_another_version_is_refused_in_one_line(copy, capsys):
    manifest = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(manifest.replace(lego.__version__, "0.0.9"))
    before = files(copy)
    assert main(["verify", str(copy)]) == 2
    printed = capsys.readouterr().err
    assert f"version='0.0.9': allowed {lego.__version__}" in printed and printed.count("\n") == 1
    rows = "train=2500,validation=300,test=300"
    assert make(copy, "--preset", "z2-n12", "--rows", rows, "--shard-rows", "1000") == 2
    printed = capsys.readouterr().err
    assert "version=" in printed and printed.count("\n") == 1
    assert files(copy) == before


def test_the_card_states_the_space_the_digests_and_the_shortcuts(small):
    card = (small / "README.md").read_text()
    assert "9,076,273,762,497,674,084,352,000,000 different sentences" in card
    assert "7,638,478,848,000 different sentences" in card  # 26!/20! 6! 2 2**5
    for split in ("train", "validation", "test"):
        assert re.search(rf"\| {split} \| [\d,]+ \| [\d.]+ \| `[0-9a-f]{{16}}` \|", card)
    assert re.search(r"\| whole-chain \| \d\.\d{3} / 1\.000 \|", card)
    for said in ("license: mit", "arXiv 2206.04301", "| seed | 0 |", '"n_tr"', "`asked`"):
        assert said in card or said.strip('"') in card


MEMORY = """
import resource, sys
from lego.cli import main
main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    def peak(rows):
        command = ["make", "chains", str(tmp_path / str(rows)), "--preset", "z2-n12"]
        command += ["--workers", "1", "--shard-rows", "50000", "--rows", f"train={rows}"]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, *command], capture_output=True, text=True, check=True
        )
        return int(done.stdout.split()[-1])  # MB

    assert peak(400_000) - peak(50_000) < 50  # the columns of 350,000 rows take 400 MB
