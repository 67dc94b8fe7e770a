"""Publishing chains with text, ids, labels and shortcuts, against parquet writing alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

import lego
from benchmarks.speed import Race, race
from lego.corpus import PARQUET, tables, write_shard

ROWS = 50_000


def measure() -> Race:
    """Rows of z2-n12 to a parquet file: all of the work, and pyarrow's part of it."""
    task = lego.load_task("chains", preset="z2-n12")
    fields = dataclasses.asdict(task.config)
    made = list(tables(task, "train", 0, ROWS))

    def publish() -> int:
        with TemporaryDirectory() as folder:
            write_shard("chains", fields, 0, "train", 0, ROWS, folder, "all.parquet")
        return ROWS

    def write() -> int:
        with (
            TemporaryDirectory() as folder,
            pq.ParquetWriter(Path(folder, "all.parquet"), made[0].schema, **PARQUET) as writer,
        ):
            for table in made:
                writer.write_table(table)
        return ROWS

    return race("rows", {"lego make": publish, "pyarrow's writer alone": write})
