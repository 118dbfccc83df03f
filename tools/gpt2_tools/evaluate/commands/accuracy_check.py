"""gpt2_evaluate accuracy-check: a model's metric compared with the reference in its accuracy-check.yml."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gpt2_text_prediction.engine import MODEL_SUFFIXES
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.evaluate.accuracy_check_yml import LAUNCHERS, SCALE, Check, read_config
from gpt2_tools.evaluate.commands.perplexity import context_of
from gpt2_tools.evaluate.model import ModelUnderTest, add_device_arguments, add_precision_argument, load_model
from gpt2_tools.evaluate.perplexity import Losses, losses_of
from gpt2_tools.evaluate.texts import Text, encode, read_text
from gpt2_tools.evaluate.windows import omz_windows
from omz_model_tools.common import INTERRUPTED, Report, disk_problems, positive_int

HELP = "measure the metrics of an accuracy-check.yml of Open Model Zoo and compare them with its references"

COLUMNS = (
    "model",
    "launcher",
    "device",
    "dataset",
    "tags",
    "metric_name",
    "metric_type",
    "metric_value",
    "metric_target",
    "metric_scale",
    "metric_postfix",
    "dataset_size",
    "ref",
    "abs_threshold",
    "rel_threshold",
    "profiling_file",
    "difference",
    "result",
)
"""The columns of Open Model Zoo's accuracy_check, and two of ours."""

ResultRow = dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the accuracy-check.yml")
    models = "the IR, its folder, or the -o of omz_converter, with public/NAME/PRECISION in it"
    parser.add_argument("-m", "--models", type=Path, required=True, metavar="DIR", help=models)
    source = "folder of the data set's files, such as datasets/wikitext-2"
    parser.add_argument("-s", "--source", type=Path, required=True, metavar="DIR", help=source)
    framework = f"run only launchers of this framework: {' or '.join(LAUNCHERS)} (default: all in the config)"
    parser.add_argument("-tf", "--target_framework", choices=LAUNCHERS, metavar="NAME", help=framework)
    parser.add_argument("--csv_result", type=Path, metavar="FILE", help="also write the results as CSV")
    limit = "only the first N windows; the result is then not judged"
    parser.add_argument("--limit", type=positive_int, metavar="N", help=limit)
    parser.add_argument(
        "--batch", type=positive_int, default=1, metavar="N", help="windows per infer call (default: %(default)s)"
    )
    add_device_arguments(parser)
    add_precision_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and judge; return the exit code, 1 if a metric is not within its thresholds."""
    checks = read_config(args.config, args.target_framework)
    found = [(check, find_model(args.models, check.model)) for check in checks]
    report, rows, runs, interrupted = Report(sys.stdout, sys.stderr), [], [], False
    for check, model in found:
        new, facts, interrupted = _checked(args, check, model)
        for row in new:
            report.line(_line(row))
        rows += new
        runs.append(facts)
        if interrupted:
            break
    if args.csv_result is not None:
        write_csv(args.csv_result, rows)
    report.line(json.dumps({"results": rows, "interrupted": interrupted, "runs": runs}))
    if interrupted:
        return INTERRUPTED
    return 1 if any(row["result"] == "fail" for row in rows) else 0


def find_model(models: Path, name: str) -> Path:
    """Return the IR of a model. Raises Problem if there is none, or more than one."""
    if models.is_file():
        return models
    here = models / f"{name}.xml"
    found = [here] if here.is_file() else sorted(models.glob(f"public/{name}/*/{name}.xml"))
    if not found:
        kinds = " or ".join(MODEL_SUFFIXES)
        raise Problem(
            f"{models}: expected {name}.xml, or public/{name}/PRECISION/{name}.xml, got neither; -m may also be a "
            f"file, {kinds}"
        )
    if len(found) > 1:
        precisions = ", ".join(path.parent.name for path in found)
        raise Problem(f"{models}: has {name} as {precisions}; give the folder of one, such as -m {found[0].parent}")
    return found[0]


def _checked(args: argparse.Namespace, check: Check, path: Path) -> tuple[list[ResultRow], dict[str, object], bool]:
    """Return the rows of the results, the settings behind them, and whether Ctrl-C ended it."""
    source = check.source
    given = {"vocab": args.source / source.vocab_file, "merges": args.source / source.merges_file}
    files = given if all(path.is_file() for path in given.values()) else dict.fromkeys(given)
    text = read_text(args.source / source.testing_file).with_universal_newlines()
    options = argparse.Namespace(**{**vars(args), **files})
    model = load_model(options, path, max_seq_len=source.max_seq_length)
    context = context_of(source.max_seq_length, model, f"{args.config}: max_seq_length")
    losses, tokens, interrupted = _losses(args, model, text, context)
    judged = args.limit is None and not interrupted
    rows = _rows(check, args.device, losses, judged=judged)
    facts = {
        "perplexity": losses.perplexity,
        "perplexity_stderr": losses.perplexity_stderr,
        "tokens": tokens,
        "windows": losses.windows,
        "tokens_scored": losses.count,
        "method": "omz",
        "context": context,
        "text": text.facts(),
        **model.facts(),
    }
    return rows, facts, interrupted


def _losses(args: argparse.Namespace, model: ModelUnderTest, text: Text, context: int) -> tuple[Losses, int, bool]:
    tokens = encode(model.tokenizer, text.text)
    windows = omz_windows(len(tokens), context)[: args.limit]
    if not windows:
        raise Problem(f"{text.path}: has {len(tokens)} tokens; expected at least {context}, one window")
    losses, interrupted = losses_of(model.scorer.score, tokens, windows, args.batch, partial(counted, unit="window"))
    return losses, len(tokens), interrupted


def _rows(check: Check, device: str, losses: Losses, *, judged: bool) -> list[ResultRow]:
    value = losses.perplexity / SCALE
    verdicts = {True: "pass", False: "fail", None: "no reference"}
    return [
        {
            "model": check.model,
            "launcher": check.framework,
            "device": device,
            "dataset": check.dataset,
            "tags": "",
            "metric_name": metric.name,
            "metric_type": metric.kind,
            "metric_value": value,
            "metric_target": "lower-better",
            "metric_scale": SCALE,
            "metric_postfix": "",
            "dataset_size": losses.windows,
            "ref": metric.reference,
            "abs_threshold": metric.abs_threshold,
            "rel_threshold": metric.rel_threshold,
            "profiling_file": "",
            "difference": metric.difference(value),
            "result": verdicts[metric.passes(value)] if judged else "not judged",
        }
        for metric in check.metrics
    ]


def _line(row: ResultRow) -> str:
    where = f"{row['model']}, {row['launcher']}, {row['device']}, {row['dataset']}"
    value = f"{row['metric_name']} {row['metric_value']:.4f}"
    if row["ref"] is not None:
        value += f", reference {row['ref']:.4f}, difference {row['difference']:+.4f}"
    return f"{where}: {value}: {row['result']}"


def write_csv(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write the rows with a header; the file appears complete and replaces an earlier one."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    new = path.with_name(f".{path.name}.new")
    with disk_problems(path, temporary=new):
        try:
            new.write_text(text.getvalue(), encoding="utf-8", newline="")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
