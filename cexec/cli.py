"""The command line: ``cexec check``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cexec import native
from lego.command import exit_code
from lego.corpus import read_manifest, shards
from lego.task import choose, require

SHOWN = 10  # mismatches that are printed


def check(args: argparse.Namespace) -> int:
    """Compile and run the programs of a corpus, and compare every state."""
    manifest = read_manifest(args.corpus)
    require(manifest["task"] == "cexec", "task", manifest["task"], "cexec, in CORPUS/manifest.json")
    require(args.sample is None or args.sample >= 1, "sample", args.sample, "1 or more")
    parts = [part for part in shards(manifest) if args.split in (None, part[1])]
    if args.split is not None:
        choose("split", args.split, tuple({split for _, split, _ in shards(manifest)}))
    compiler = native.find_compiler(args.compiler)
    print(compiler.version)
    total = sum(min(shard["rows"], args.sample or shard["rows"]) for _, _, shard in parts)
    states = found = 0
    with tqdm(total=total, unit="program", desc=f"check {args.corpus}") as bar:
        for _, _, shard in parts:
            path, left, row = Path(args.corpus, shard["file"]), args.sample or shard["rows"], 0
            require(path.is_file(), "shard", str(path), "a file that is there")
            columns = ["source", "trace", "stdout"]
            for batch in pq.ParquetFile(path).iter_batches(native.BATCH, columns=columns):
                rows = pa.Table.from_batches([batch]).slice(0, left - row).to_pylist()
                if not rows:
                    break
                for at, message in native.mismatches(rows, compiler):
                    found += 1
                    if found <= SHOWN:
                        tqdm.write(f"{shard['file']} row {row + at}: {message}")
                row += len(rows)
                states += sum(len(one["trace"]) for one in rows)
                bar.update(len(rows))
    print(f"{total:,} programs, {states:,} states compared, {found} mismatches")
    return 1 if found else 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cexec", description="C programs and their traces.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser(
        "check",
        help="compare a corpus with what a real compiler makes of its programs",
        description="Compile the programs of a corpus, run them, and compare every state.",
        epilog="example:\n  lego make cexec OUT --preset straight --rows test=1000\n"
        "  cexec check OUT    # exit code 0 when all agree, 1 when some do not, 2 for bad usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("corpus", help="a folder made by lego make cexec")
    names = ", ".join(native.COMPILERS)
    sub.add_argument("--compiler", default="auto", metavar="NAME", help=f"{names} (%(default)s)")
    sub.add_argument("--sample", type=int, metavar="N", help="the first N programs of each shard")
    sub.add_argument("--split", help="one split only")
    sub.set_defaults(call=check)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 all agree, 1 mismatches, 2 bad usage."""
    args = parser().parse_args(argv)
    return exit_code("cexec", lambda: args.call(args))


if __name__ == "__main__":
    sys.exit(main())
