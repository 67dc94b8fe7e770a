"""The command line: ``cexec check``, ``cexec trace`` and ``cexec import``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from cexec import certificate, foreign, native
from lego.command import exit_code
from lego.corpus import add_check, read_manifest, whole_file
from lego.task import require

SHOWN = 10  # mismatches that are printed


def check(args: argparse.Namespace) -> int:
    """Compile and run the programs of a corpus, and compare every state."""
    manifest = read_manifest(args.corpus)
    require(manifest["task"] == "cexec", "task", manifest["task"], "cexec, in CORPUS/manifest.json")
    splits = None if args.split is None else [args.split]
    compiler = native.find_compiler(args.compiler, args.sanitize)
    print(compiler.version)
    told = 0

    def tell(line: str) -> None:
        nonlocal told
        told += 1
        if told <= SHOWN:
            tqdm.write(line)

    kinds = certificate.KINDS if args.only is None else (args.only,)
    how = (splits, args.sample, args.sanitize, args.workers, kinds)
    verdict = certificate.check_corpus(args.corpus, manifest, compiler, tell, *how)
    total = verdict.total
    if told > SHOWN:
        print(f"... and {told - SHOWN:,} more")
    sanitized = ", sanitized" if args.sanitize else ""
    print(
        f"{total.rows:,} programs{sanitized}, {total.writes:,} states compared, "
        f"{total.mismatches:,} mismatches, {total.warnings:,} warnings"
    )
    if verdict.damaged:
        print(f"{args.corpus}: no certificate, as shards are not those of its manifest")
    else:
        found = certificate.as_check(verdict, manifest, compiler, args.sanitize, kinds)
        add_check(args.corpus, manifest, found)
    return 1 if told else 0


def trace(args: argparse.Namespace) -> int:
    """Compile and run a C file in the sandbox, and print its trace."""
    compiler = native.find_compiler(args.compiler)
    text, traced = foreign.trace_file(args.file, args.format, compiler)
    print(f"{compiler.version}, guarded by {traced.guard}", file=sys.stderr)
    if args.out is None:
        print(text)
    else:
        with whole_file(Path(args.out)) as temporary:
            temporary.write_text(text + "\n")
    return 0


def import_folder(args: argparse.Namespace) -> int:
    """Trace every C file below a folder, and make a corpus of those that can be."""
    compiler = native.find_compiler(args.compiler)
    print(compiler.version, file=sys.stderr)
    rows, refused = foreign.import_folder(args.folder, args.out, compiler)
    for one in refused[:SHOWN]:
        print(one["reason"], file=sys.stderr)
    print(f"{args.out}: {rows:,} programs, {len(refused):,} files refused, see refused.jsonl")
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cexec", description="C programs and their traces.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser(
        "check",
        help="compare a corpus with what a real compiler makes of its programs",
        description="Compile the programs of a corpus, run them, and compare what they print and "
        "every write. They run unguarded, as they came: check what lego has made.",
        epilog="example:\n  lego make cexec OUT --preset straight --rows test=1000\n"
        "  cexec check OUT    # exit code 0 when all agree, 1 when some do not, 2 for bad usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("corpus", help="a folder made by lego make cexec")
    names = ", ".join(native.COMPILERS)
    sub.add_argument("--compiler", default="auto", metavar="NAME", help=f"{names} (%(default)s)")
    sub.add_argument("--sample", type=int, metavar="N", help="the first N programs of each shard")
    sub.add_argument("--split", help="one split only")
    sub.add_argument("--only", metavar="WHAT", help=f"{' or '.join(certificate.KINDS)} alone")
    sub.add_argument("--sanitize", action="store_true", help="trap undefined behaviour")
    sub.add_argument("--workers", type=int, help="compilers at work at once (one a core)")
    sub.set_defaults(call=check)
    sub = commands.add_parser(
        "trace",
        help="run a C file of your own in the sandbox and print every write",
        description="Run a C file in the sandbox and print every write of an integer.",
        epilog="example:\n  cexec trace sort.c --format comments\n"
        "  # exit code 2 and one line for what is refused, does not compile or hits a limit",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("file", metavar="FILE.c", help="a program that reads no input")
    shown = ", ".join(foreign.SHOWN)
    sub.add_argument("--format", default="writes", metavar="NAME", help=f"{shown} (%(default)s)")
    sub.add_argument("--out", metavar="FILE", help="where the trace goes (standard output)")
    sub.add_argument("--compiler", default="auto", metavar="NAME", help=f"{names} (%(default)s)")
    sub.set_defaults(call=trace)
    sub = commands.add_parser(
        "import",
        help="make a corpus of the C files in a folder",
        description="Trace every .c file below a folder: OUT is for datasets.load_dataset.",
    )
    sub.add_argument("folder", metavar="DIR", help="a folder with .c files")
    sub.add_argument("out", metavar="OUT", help="a new folder; refused.jsonl tells what is missing")
    sub.add_argument("--compiler", default="auto", metavar="NAME", help=f"{names} (%(default)s)")
    sub.set_defaults(call=import_folder)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 all agree, 1 mismatches, 2 bad usage."""
    args = parser().parse_args(argv)
    return exit_code("cexec", lambda: args.call(args))


if __name__ == "__main__":
    sys.exit(main())
