"""The command line: ``lego make``, ``verify``, ``push``, ``train``, ``sweep`` and the rest.

Each command only reads its arguments and calls the module that does the work; what that module
needs is imported then, so that ``lego --help`` is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from lego.command import assignments, exit_code
from lego.task import make_config, require, task_class


def _rows(text: str) -> dict[str, int]:
    rows = assignments(text.split(","))
    for split, count in rows.items():
        require(type(count) is int and count >= 1, f"rows {split}", count, "a number, 1 or more")
    return rows


def make(args: argparse.Namespace) -> int:
    from lego import corpus

    fields, rows = assignments(args.fields), _rows(args.rows)
    kind = task_class(args.task)
    configs = [make_config(kind, preset, **fields) for preset in args.preset or [None]]
    settings = (args.seed, args.shard_rows, args.workers, args.engine, args.certify)
    try:
        made = corpus.make(args.task, args.out, configs, rows, *settings)
    except corpus.NotCertifiedError as error:
        print("\n".join(error.faults))
        print(f"{args.out}: not certified, so that it has no {corpus.MANIFEST}")
        return 1
    total = sum(shard["rows"] for _, _, shard in corpus.shards(made))
    print(f"{args.out}: {total:,} rows")
    return 0


def verify(args: argparse.Namespace) -> int:
    from lego.verify import verify

    verdict = verify(args.corpus, args.workers)
    for fault in verdict.faults[:20]:
        print(fault)
    for (config, split), count in verdict.duplicates.items():
        print(f"{config} {split}: {count} duplicate rows")
    print(f"{args.corpus}: {verdict.rows:,} rows, {'damaged' if verdict.faults else 'clean'}")
    return 1 if verdict.faults else 0


def push(args: argparse.Namespace) -> int:
    from lego.push import push

    print(push(args.corpus, args.repo, args.private))
    return 0


def presets(args: argparse.Namespace) -> int:
    from lego.presets import preset_page

    require(args.rows >= 1, "rows", args.rows, "1 or more")
    print(preset_page(args.task, args.rows), end="")
    return 0


def models(args: argparse.Namespace) -> int:
    from lego.models import model_page

    print(model_page(args.task, args.preset, args.fields), end="")
    return 0


def train(args: argparse.Namespace) -> int:
    from lego.train import run

    run(args.config, assignments(args.fields))
    return 0


def sweep(args: argparse.Namespace) -> int:
    from lego.grid import parse_grid
    from lego.sweep import Sweep

    fields = assignments(args.fields)
    plan = Sweep(args.config, args.out, parse_grid(args.grid), fields)
    if args.dry_run:
        missing = plan.missing()
        for cell in plan.cells:
            print(f"{cell.folder}: {'to run' if cell in missing else 'finished'}")
        return 0
    try:
        done = plan.run(args.engine, args.workers)
    except KeyboardInterrupt:
        print(f"lego: {args.out}: stopped; the same command goes on", file=sys.stderr)
        return 130
    print(plan.table())
    return 0 if done else 1


def evaluate(args: argparse.Namespace) -> int:
    from lego.evaluate import evaluate_to_file

    fields = assignments(args.fields)
    evaluate_to_file(args.model, args.source, args.out, args.preset, args.rows, args.split, fields)
    return 0


def probe(args: argparse.Namespace) -> int:
    from lego.probes.run import probe_to_file

    fields = assignments(args.fields)
    where = args.preset, args.rows, args.split
    probe_to_file(args.model, args.source, args.out, *where, fields, args.brief)
    return 0


def report(args: argparse.Namespace) -> int:
    from lego.report import write_report

    write_report(args.run, args.out)
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="lego", description="Research on how transformers learn to reason."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Callable[..., int], summary: str, example: str) -> Any:
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(call=call, parser=sub)
        return sub

    def takes_fields(sub: Any, example: str) -> None:
        """``field=value`` may stand anywhere: argparse leaves it over, and ``main`` takes it."""
        sub.usage = sub.format_usage().removeprefix("usage: ").strip() + " [field=value ...]"
        sub.description += f" Each field=value replaces a field of the settings, as in {example}."
        sub.set_defaults(fields=[])

    sub = command(
        "make",
        make,
        "make a corpus: parquet shards and a dataset card, ready for datasets.load_dataset",
        "lego make chains OUT --preset z2-n12 --rows train=100000,test=1000",
    )
    sub.add_argument("task", help="a task's name, such as chains")
    sub.add_argument("out", help="a new folder, or one to go on with")
    sub.add_argument("--preset", action="append", metavar="NAME", help="a preset; may be repeated")
    sub.add_argument(
        "--rows",
        default="train=100000,validation=5000,test=5000",
        help="%(default)s; 'test*=5000' stands for all evaluation splits",
    )
    sub.add_argument("--seed", type=int, default=0, help="%(default)s")
    sub.add_argument("--shard-rows", type=int, default=100_000, help="rows a file (%(default)s)")
    sub.add_argument("--workers", type=int, help="processes (one a core)")
    sub.add_argument("--engine", default="local", help="local or ray (%(default)s)")
    sub.add_argument(
        "--certify",
        action="store_true",
        help="let the task's judge, such as a compiler, check every split but train first",
    )
    takes_fields(sub, "n=8")

    sub = command(
        "verify",
        verify,
        "derive every answer of a corpus anew from its text; check digests and splits",
        "lego verify OUT    # exit code 0 when clean, 1 with the first bad rows",
    )
    sub.add_argument("corpus", help="a folder made by lego make")
    sub.add_argument("--workers", type=int, help="processes (one a core)")

    sub = command(
        "push",
        push,
        "publish a finished corpus as a dataset on the Hugging Face hub",
        "lego push OUT me/chains --private    # after 'hf auth login', or with HF_TOKEN set",
    )
    sub.add_argument("corpus", help="a folder made by lego make")
    sub.add_argument("repo", help="name or owner/name; made if it is not there")
    sub.add_argument("--private", action="store_true", help="where it is made, only for its owner")

    sub = command(
        "presets",
        presets,
        "list a task's presets: fields, size of the space, and what known shortcuts reach",
        "lego presets chains --rows 1000",
    )
    sub.add_argument("task", help="a task's name, such as chains")
    sub.add_argument("--rows", type=int, default=1000, help="examples a split (%(default)s)")

    sub = command(
        "models",
        models,
        "list the zoo's models for a task: parameters, FLOPs, layers, heads",
        "lego models chains --preset z2-n12",
    )
    sub.add_argument("task", help="a task's name, such as chains")
    sub.add_argument("--preset", metavar="NAME", help="a preset of the task")
    takes_fields(sub, "form=english")

    sub = command(
        "train",
        train,
        "train a model as a YAML file says; a killed run goes on when started again",
        "lego train benchmarks/configs/z2-n6-tied.yaml run=runs/mine seed=1",
    )
    sub.add_argument("config", help="a YAML file; see lego/settings.py for the fields")
    takes_fields(sub, "lr=1e-3")

    sub = command(
        "sweep",
        sweep,
        "train every combination of some fields' values; a killed sweep goes on when started again",
        "lego sweep CONFIG.yaml --out OUT --grid model=conv-albert-nano,conv-bert-nano seed=0,1,2\n"
        "  lego sweep CONFIG.yaml --out OUT --grid fields.n=6,8 model_fields.conv_kernel=0,3,7\n"
        "  pandas.read_json('OUT/results.jsonl', lines=True)    # in Python: a row a run",
    )
    sub.add_argument("config", help="a YAML file, as for lego train")
    sub.add_argument(
        "--grid",
        nargs="+",
        action="extend",
        required=True,
        metavar="field=value,value",
        help="what varies; fields.n is the field n of the task, model_fields.x of the model; "
        "values with commas stand in brackets or quotes",
    )
    sub.add_argument("--out", required=True, help="a new folder, or one to go on with or widen")
    sub.add_argument("--engine", default="local", help="local or ray (%(default)s)")
    sub.add_argument("--workers", type=int, help="local processes (cores / threads of a run)")
    sub.add_argument("--dry-run", action="store_true", help="only print the folders of the runs")
    takes_fields(sub, "lr=1e-3")

    for name, call, summary in (
        ("eval", evaluate, "measure a model's accuracy, by chain position or trace step"),
        ("probe", probe, "measure what a model's heads look at, and what it does with that"),
    ):
        sub = command(name, call, summary, f"lego {name} RUN/model CORPUS --out {name}.json")
        sub.add_argument("model", help="a folder with a model and its tokenizer")
        sub.add_argument("source", help="a corpus folder, or a task's name")
        sub.add_argument(
            "--preset", metavar="NAME", help="the preset of a task, or config of a corpus"
        )
        sub.add_argument("--rows", type=int, default=1000, help="examples (%(default)s)")
        sub.add_argument("--split", default="test", help="%(default)s")
        sub.add_argument("--out", required=True, help="the JSON file to write")
        takes_fields(sub, "form=english")
        if call is probe:
            sub.add_argument("--brief", action="store_true", help="the heads and their maps alone")

    sub = command(
        "report",
        report,
        "draw training runs on one HTML page that opens without a network",
        "lego report runs/tied runs/untied --out report.html",
    )
    sub.add_argument("run", nargs="+", help="run folders; the first is the main one")
    sub.add_argument("--out", required=True, help="the HTML file to write")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 found faults or could not write, 2 bad usage."""
    args, left = parser().parse_known_args(argv)
    if left and ("fields" not in args or any(word.startswith("-") for word in left)):
        args.parser.error(f"unrecognized arguments: {' '.join(left)}")
    args.fields = left
    return exit_code("lego", lambda: args.call(args))


if __name__ == "__main__":
    sys.exit(main())
