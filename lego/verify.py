"""Verify a corpus: digests, every answer anew from the text, disjoint splits, duplicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lego import engine
from lego.columns import padded
from lego.corpus import CARD, corpus_task, digest, read_manifest, shards
from lego.task import weighted_sums

CHECKED_ROWS = 5_000  # rows whose text is parsed at once
SHOWN = 10  # faults that are told of one shard


@dataclass
class Verdict:
    """What was found. ``duplicates``: rows of a (config, split) that stood in it before."""

    rows: int = 0
    faults: list[str] = field(default_factory=list)
    duplicates: dict[tuple[str, str], int] = field(default_factory=dict)


def verify(folder: str | Path, workers: int | None = None) -> Verdict:
    """Check a whole corpus; the verdict is clean when it has no faults.

    Raises SettingError where the folder is no corpus.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    verdict = Verdict()
    if not (folder / CARD).is_file():
        verdict.faults.append(f"{CARD}: missing")
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    jobs = [(str(folder), manifest, *place) for place in shards(manifest)]
    with tqdm(total=len(jobs), unit="shard", desc=f"verify {folder}") as bar:
        for place, faults, sums in engine.run(check_shard, jobs, workers):
            verdict.faults += faults
            verdict.rows += len(sums)
            found.setdefault(place, []).append(sums)
            bar.update()
    order = dict.fromkeys((label, split) for label, split, _ in shards(manifest))
    _check_sets({place: found[place] for place in order}, verdict)
    return verdict


def check_shard(
    folder: str, manifest: dict[str, Any], label: str, split: str, shard: dict[str, Any]
) -> tuple[tuple[str, str], list[str], np.ndarray]:
    """One shard's (config, split), its first faults, and a hash (uint64) of each row's tokens."""
    path, place = Path(folder, shard["file"]), (label, split)
    nothing = np.empty(0, np.uint64)
    if not path.is_file():
        return place, [f"{shard['file']}: missing"], nothing
    held = digest(path)
    if held != shard["sha256"]:
        return place, [f"{shard['file']}: sha256={held}: allowed {shard['sha256']}"], nothing
    task = corpus_task(manifest, label)
    faults: list[str] = []
    sums: list[np.ndarray] = []
    file = pq.ParquetFile(path)
    if file.schema_arrow.names != list(task.features):
        return place, [f"{shard['file']}: columns={file.schema_arrow.names}"], nothing
    row = 0
    for record in file.iter_batches(CHECKED_ROWS):
        table = pa.Table.from_batches([record])
        for at, message in task.check(table, split):
            faults.append(f"{shard['file']} row {row + at}: {message}")
        sums.append(weighted_sums(padded(table["input_ids"].combine_chunks(), task.max_length)))
        row += len(table)
    if row != shard["rows"]:
        faults.append(f"{shard['file']}: rows={row}: allowed {shard['rows']}")
    return place, faults[:SHOWN], np.concatenate(sums) if sums else nothing


def _check_sets(found: dict[tuple[str, str], list[np.ndarray]], verdict: Verdict) -> None:
    unique = {place: np.unique(np.concatenate(sums)) for place, sums in found.items()}
    for place, sums in found.items():
        verdict.duplicates[place] = sum(map(len, sums)) - len(unique[place])
    for i, (label, split) in enumerate(unique):
        for other, second in list(unique)[i + 1 :]:
            if other == label:
                shared = np.intersect1d(unique[label, split], unique[other, second])
                if len(shared):
                    verdict.faults.append(
                        f"{label}: {len(shared)} rows in both {split} and {second}"
                    )
