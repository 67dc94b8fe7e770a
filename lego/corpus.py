"""A corpus: a folder of parquet shards of a task, for ``datasets.load_dataset``.

A shard gets its name when it is complete and on disk, then a line in the journal; the manifest
comes last and takes the journal's place. So whatever carries a final name is whole, and a killed
``make`` goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import lego
from lego import engine
from lego.columns import without_nulls
from lego.task import (
    Certified,
    Certifier,
    Check,
    SettingError,
    Task,
    choose,
    config_name,
    decode,
    load_task,
    require,
    task_class,
)

if TYPE_CHECKING:
    import datasets

SHARD_ROWS = 100_000
GROUP_ROWS = 10_000  # rows sampled and written at once: a few MB, which stay in the cache
# For speed: zstd makes files half the size and takes twice as long; statistics and dictionaries of
# lists of small integers help no reader.
PARQUET = {
    "compression": "lz4",
    "use_dictionary": False,
    "write_statistics": False,
    "write_batch_size": 16_384,
}
MANIFEST, JOURNAL, CARD = "manifest.json", ".journal.jsonl", "README.md"
CERTIFICATE = "certificate.json"


class NotCertifiedError(Exception):
    """A corpus that the judge outside of lego finds wrong; ``faults`` are lines for a person."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults[0])
        self.faults = faults


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well, once it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tables(task: Task, split: str, start: int, stop: int) -> Iterator[pa.Table]:
    """Rows start .. stop-1 as they are published, some thousands at a time."""
    schema = without_nulls(task.features.arrow_schema)
    for first in range(start, stop, GROUP_ROWS):
        batch = task.sample(split, first, min(first + GROUP_ROWS, stop))
        yield task.table(batch).select(schema.names).cast(schema)


def write_shard(
    name: str, fields: dict[str, Any], seed: int, split: str, start: int, stop: int,
    folder: str, file: str,
) -> dict[str, Any]:  # fmt: skip
    """Make one shard; returns its line in the manifest. Arguments pickle, for any engine."""
    kind = task_class(name)
    task = kind(decode(kind.Config, fields), seed)
    path, schema = Path(folder, file), without_nulls(task.features.arrow_schema)
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, **PARQUET) as writer,
    ):
        size = 0
        for table in tables(task, split, start, stop):
            writer.write_table(table)
            size += table.nbytes
    return {"file": file, "rows": stop - start, "bytes": size, "sha256": digest(path)}


def make(
    name: str,
    out: str | Path,
    configs: list[Any],
    rows: Mapping[str, int],
    seed: int = 0,
    shard_rows: int = SHARD_ROWS,
    workers: int | None = None,
    where: str = "local",
    certify: bool = False,
) -> dict[str, Any]:
    """Write a corpus of one or more configs of a task; returns its manifest.

    ``rows``: split, or a pattern such as ``test*``, -> number of rows, for every config that has
    such a split; the first that fits a split counts. Finished shards of an earlier run with the
    same settings are kept when their digest is right; damaged ones are made again.
    ``certify``: the task's judge outside of lego checks the shards before the manifest is written.
    Raises SettingError, with nothing written, for impossible settings or a folder that holds
    anything else; NotCertifiedError, with the shards left there and no manifest, when the judge
    finds faults.
    """
    choose("engine", where, engine.ENGINES)
    require(workers is None or workers >= 1, "workers", workers, "1 or more")
    require(shard_rows >= 1, "shard_rows", shard_rows, "1 or more")
    require(0 <= seed < 2**63, "seed", seed, "0 .. 2**63 - 1")
    require(bool(rows) and bool(configs), "rows", dict(rows), "at least one split and one config")
    kind = task_class(name)
    certifier: Certifier | None = None
    if certify:
        held = hasattr(kind, "certifier")
        require(held, "task", name, "tasks with a check of their own for --certify")
        certifier = cast(type[Certified], kind).certifier()
    plan: dict[str, Any] = {}
    jobs = []
    for config in configs:
        task = kind(config, seed)
        label = config_name(kind, config)
        fields = json.loads(json.dumps(dataclasses.asdict(config)))  # as the manifest holds them
        require(label not in plan, "preset", label, "each config once")
        splits = _counts(task, rows)
        for split, count in splits.items():
            task.sample(split, count - 1, count)  # refuses what cannot be filled
            starts = range(0, count, shard_rows)
            for k, start in enumerate(starts):
                file = f"{label}/{split}-{k:05d}-of-{len(starts):05d}.parquet"
                stop = min(start + shard_rows, count)
                jobs.append((name, fields, seed, split, start, stop, str(out), file))
        plan[label] = {"fields": fields, "splits": splits}
    judged = {split for entry in plan.values() for split in entry["splits"]} - {"train"}
    require(bool(judged) or not certify, "rows", dict(rows), "a split other than train to certify")
    settings = {"task": name, "seed": seed, "version": lego.__version__}
    settings |= {"rows": dict(rows), "shard_rows": shard_rows, "configs": plan}

    out = Path(out)
    finished = _open(out, settings)
    missing = [job for job in jobs if job[-1] not in finished]
    with (
        (out / JOURNAL).open("a") as journal,
        tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit="shard", desc=f"{out}") as bar,
    ):
        for record in engine.run(write_shard, missing, workers, where):
            finished[record["file"]] = record
            journal.write(json.dumps(record) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
            bar.update()
    for label, entry in plan.items():
        entry["splits"] = {
            split: {
                "rows": count,
                "shards": [
                    finished[job[-1]] for job in jobs if job[-1].startswith(f"{label}/{split}-")
                ],
            }
            for split, count in entry["splits"].items()
        }
    check = None
    if certifier is not None:
        check, faults = certifier(out, settings)
        if faults:
            for file in (MANIFEST, CERTIFICATE):  # of an earlier make
                (out / file).unlink(missing_ok=True)
            raise NotCertifiedError(faults)
    from lego.card import card

    certificate = _with_check(read_certificate(out, settings), settings, check)
    with whole_file(out / CARD) as temporary:
        temporary.write_text(card(settings, out, certificate))
    _write_certificate(out, certificate)
    with whole_file(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n")
    (out / JOURNAL).unlink()
    return settings


def corpus_digest(manifest: dict[str, Any]) -> str:
    """The SHA-256, in hex, of what a manifest says: settings, and the digest of every shard."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def read_certificate(folder: str | Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """What was found of this very corpus by judges outside of lego, if anything is on record.

    ``digest`` of the corpus, ``digest_of`` what that covers, and ``checks``, a list of
    ``lego.task.Check``. One of another corpus is ignored, with a line that says so.
    """
    path = Path(folder, CERTIFICATE)
    if not path.is_file():
        return None
    certificate = json.loads(path.read_text())
    if certificate["digest"] != corpus_digest(manifest):
        tqdm.write(f"{path}: ignored, it is of a corpus with other settings or shards")
        return None
    return certificate


def add_check(folder: str | Path, manifest: dict[str, Any], check: Check) -> None:
    """Put on record, in the certificate and in the card, what was found of a finished corpus.

    Checks by other judges stay, and those of other splits; of one split, the newer one, unless
    that is a clean sample of what was checked before.
    """
    from lego.card import with_certificate

    folder = Path(folder)
    certificate = _with_check(read_certificate(folder, manifest), manifest, check)
    card = folder / CARD
    text = card.read_text() if card.is_file() else ""
    with whole_file(card) as temporary:
        temporary.write_text(with_certificate(text, certificate))
    _write_certificate(folder, certificate)


def _with_check(
    certificate: dict[str, Any] | None, manifest: dict[str, Any], check: Check | None
) -> dict[str, Any] | None:
    if check is None:
        return certificate
    covers = f"SHA-256 of {MANIFEST} as JSON with sorted keys: all settings and shards' digests"
    if certificate is None:
        certificate = {"digest": corpus_digest(manifest), "digest_of": covers, "checks": []}
    for entry in certificate["checks"]:
        if (entry["by"], entry["settings"]) == (check["by"], check["settings"]):
            break
    else:
        entry = check | {"splits": []}
        certificate["checks"].append(entry)
    held = {(part["config"], part["split"]): part for part in entry["splits"]}
    for part in check["splits"]:
        place = (part["config"], part["split"])
        before = held.get(place)
        if before is None or part["rows"] >= before["rows"] or part["mismatches"]:
            held[place] = part
    entry["splits"] = list(held.values())
    return certificate


def _write_certificate(folder: Path, certificate: dict[str, Any] | None) -> None:
    if certificate is None:
        (folder / CERTIFICATE).unlink(missing_ok=True)
        return
    with whole_file(folder / CERTIFICATE) as temporary:
        temporary.write_text(json.dumps(certificate, indent=1) + "\n")


def _counts(task: Task, rows: Mapping[str, int]) -> dict[str, int]:
    """How many rows of each split; a name with * or ? in it stands for all that it matches."""
    counts: dict[str, int] = {}
    for pattern, count in rows.items():
        require(count >= 1, f"rows {pattern}", count, "1 or more")
        matched = fnmatch.filter(task.splits, pattern)
        if not matched:
            choose("split", pattern, task.splits)
        for split in matched:
            counts.setdefault(split, count)
    return counts


def _open(out: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Begin or go on with a folder: the shards, by file, that are there and whole."""
    records: list[dict[str, Any]] = []
    present = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    require(not out.exists() or out.is_dir(), "OUT", str(out), "a folder")
    if MANIFEST in present:
        there = json.loads((out / MANIFEST).read_text())
        records = [shard for _, _, shard in shards(there)]
        for entry in there["configs"].values():
            entry["splits"] = {split: part["rows"] for split, part in entry["splits"].items()}
        _refuse_other(out, there, settings)
    elif JOURNAL in present:
        lines = (out / JOURNAL).read_text().split("\n")
        _refuse_other(out, json.loads(lines[0]), settings)
        records = [json.loads(line) for line in lines[1:-1]]  # the last line may be torn
    else:
        require(not present, "OUT", str(out), "a new or empty folder, or a corpus to go on with")
    out.mkdir(parents=True, exist_ok=True)
    for stray in out.rglob(".*.tmp"):
        stray.unlink()
    finished = {}
    for record in records:
        path = out / record["file"]
        if path.exists() and digest(path) == record["sha256"]:
            finished[record["file"]] = record
        else:
            tqdm.write(f"{path}: missing or damaged, made again")
    with whole_file(out / JOURNAL) as temporary:
        lines = [json.dumps(settings), *map(json.dumps, finished.values())]
        temporary.write_text("".join(line + "\n" for line in lines))
    return finished


def _refuse_other(out: Path, there: dict[str, Any], settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if there.get(key) != value:
            held = json.dumps(there.get(key))
            raise SettingError(
                f"{key}={json.dumps(value)}: allowed {held}, which {out} was made with"
            )


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a finished corpus.

    Raises SettingError where there is none, and for a corpus of another version of lego, whose
    rows this one would not make.
    """
    path = Path(folder, MANIFEST)
    require(
        path.is_file(), "CORPUS", str(folder), f"a folder with a {MANIFEST}, as 'lego make' writes"
    )
    manifest = json.loads(path.read_text())
    version = manifest["version"]
    mends = f"{lego.__version__}, this lego's; make it anew, or install lego-reasoning=={version}"
    require(version == lego.__version__, f"{folder} version", version, mends)
    return manifest


def shards(manifest: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(config, split, shard) for every shard of a manifest."""
    for label, entry in manifest["configs"].items():
        for split, part in entry["splits"].items():
            for shard in part["shards"]:
                yield label, split, shard


def corpus_task(manifest: dict[str, Any], label: str | None = None) -> Task:
    """The task that made a config of a corpus; by default its only config.

    Raises SettingError for an unknown config, or when there are several to choose from.
    """
    configs = manifest["configs"]
    if label is None:
        require(len(configs) == 1, "preset", None, f"one of {', '.join(configs)}")
        label = next(iter(configs))
    choose("preset", label, configs)
    return load_task(manifest["task"], seed=manifest["seed"], **configs[label]["fields"])


def dataset(task: Task, split: str, rows: int) -> datasets.Dataset:
    """The first rows of a split as a map-style dataset in memory, in the corpus's columns."""
    from datasets import Dataset, DatasetInfo, NamedSplit
    from datasets.table import InMemoryTable

    require(rows >= 1, "rows", rows, "1 or more")
    table = InMemoryTable(pa.concat_tables(tables(task, split, 0, rows)))
    info = DatasetInfo(features=task.features)
    return Dataset(table, info, NamedSplit(split), fingerprint=_fingerprint(task, split, rows))


def stream(task: Task, split: str, rows: int = 10**9) -> datasets.IterableDataset:
    """The rows of a split as a stream, made as they are asked for: nothing is stored.

    It has one shard per 100,000 rows, for the workers of a DataLoader and the ranks of
    ``split_dataset_by_node``, and resumes by ``state_dict``. The default is as good as endless.
    """
    from datasets import DatasetInfo, IterableDataset, NamedSplit
    from datasets.iterable_dataset import ArrowExamplesIterable

    require(rows >= 1, "rows", rows, "1 or more")
    bounds = [(start, min(start + SHARD_ROWS, rows)) for start in range(0, rows, SHARD_ROWS)]
    examples = ArrowExamplesIterable(_Shards(task, split), {"bounds": bounds})
    return IterableDataset(examples, DatasetInfo(features=task.features), NamedSplit(split))


@dataclasses.dataclass
class _Shards:
    """The tables of some shards of a stream; a class, so that it pickles to DataLoader workers."""

    task: Task
    split: str

    def __call__(self, bounds: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for start, stop in bounds:
            for k, table in enumerate(tables(self.task, self.split, start, stop)):
                yield (start, k), table


def _fingerprint(task: Task, split: str, rows: int) -> str:
    parts = [task.name, dataclasses.asdict(task.config), task.seed, split, rows, lego.__version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
