"""gpt2_evaluate accuracy-check: a model's metric compared with the reference in its accuracy-check.yml."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gpt2_text_prediction.engine import MODEL_SUFFIXES
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.evaluate.accuracy_check_yml import SCALE, Check, DatasetSource, read_config
from gpt2_tools.evaluate.commands.perplexity import context_of
from gpt2_tools.evaluate.model import load_model
from gpt2_tools.evaluate.perplexity import Losses, losses_of
from gpt2_tools.evaluate.texts import encode, read_text
from gpt2_tools.evaluate.windows import Window, omz_windows
from omz_model_tools.common import INTERRUPTED, Report, check_file, publishing

OMZ_COLUMNS = (
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
)
"""The columns of Open Model Zoo's accuracy_check."""
COLUMNS = (*OMZ_COLUMNS, "difference", "result")

ResultRow = dict[str, object]
Windows = Sequence[Window]


@dataclass(frozen=True)
class Job:
    """A check of one model file on one device."""

    check: Check
    model: Path
    device: str


def run(args: argparse.Namespace) -> int:
    """Measure, print and judge; return the exit code, 1 if a metric is not within its thresholds."""
    checks = read_config(args.config, [args.target_framework] if args.target_framework else ())
    jobs = [Job(check, find_model(args.models, check.model), args.device) for check in checks]
    if args.csv_result is not None:
        check_file(args.csv_result)
    return run_jobs(args, jobs, lambda windows: windows[: args.limit], write_csv)


def run_jobs(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    subset: Callable[[Windows], Windows],
    write: Callable[[Path, Sequence[ResultRow], int], None],
) -> int:
    """Do the jobs one after another; return the exit code. subset: the windows that are scored, out of all.

    write: writes rows to args.csv_result, if it is given, of which Ctrl-C has left the last ones incomplete.
    The other options are those of add_arguments.
    """
    report, rows, runs = Report(sys.stdout, sys.stderr), [], []
    interrupted, incomplete = False, 0
    for job in jobs:
        new, facts, interrupted = _checked(args, job, subset)
        for row in new:
            report.line(_line(row))
        rows += new
        runs.append(facts)
        if interrupted:
            incomplete = len(new)
            break
    if args.csv_result is not None:
        write(args.csv_result, rows, incomplete)
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


def _checked(
    args: argparse.Namespace, job: Job, subset: Callable[[Windows], Windows]
) -> tuple[list[ResultRow], dict[str, object], bool]:
    """Return the rows of the results, the settings behind them, and whether Ctrl-C ended it."""
    source = job.check.source
    text = read_text(args.source / source.testing_file).with_universal_newlines()
    files = _tokenizer_files(source, args.source, job.model.parent)
    options = argparse.Namespace(**{**vars(args), **files, "device": job.device})
    model = load_model(options, job.model, max_seq_len=source.max_seq_length)
    context = context_of(source.max_seq_length, model, f"{args.config}: max_seq_length")
    tokens = encode(model.tokenizer, text.text)
    windows = omz_windows(len(tokens), context)
    if not windows:
        raise Problem(f"{text.path}: has {len(tokens)} tokens; expected at least {context}, one window")
    scored = subset(windows)
    losses, interrupted = losses_of(model.scorer.score, tokens, scored, args.batch, partial(counted, unit="window"))
    rows = _rows(job, losses, judged=len(scored) == len(windows) and not interrupted)
    facts = {
        "perplexity": losses.perplexity,
        "perplexity_stderr": losses.perplexity_stderr,
        "tokens": len(tokens),
        "windows": losses.windows,
        "tokens_scored": losses.count,
        "method": "omz",
        "context": context,
        "text": text.facts(),
        **model.facts(),
    }
    return rows, facts, interrupted


def _tokenizer_files(source: DatasetSource, *folders: Path) -> dict[str, Path | None]:
    """Return the first vocabulary and merges of a config that lie in one of the folders, by their paths or names.

    Both are None where they lie nowhere: then the tokenizer is the model's own.
    """
    for folder in folders:
        for vocab, merges in (
            (folder / source.vocab_file, folder / source.merges_file),
            (folder / Path(source.vocab_file).name, folder / Path(source.merges_file).name),
        ):
            if vocab.is_file() and merges.is_file():
                return {"vocab": vocab, "merges": merges}
    return {"vocab": None, "merges": None}


def _rows(job: Job, losses: Losses, *, judged: bool) -> list[ResultRow]:
    check, value = job.check, losses.perplexity / SCALE
    verdicts = {True: "pass", False: "fail", None: "no reference"}
    return [
        {
            "model": check.model,
            "launcher": check.framework,
            "device": job.device,
            "dataset": check.dataset,
            "tags": "",
            "metric_name": metric.name,
            "metric_type": metric.kind,
            "metric_value": value,
            "metric_target": "higher-worse",
            "metric_scale": SCALE,
            "metric_postfix": "%",
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


def write_csv(path: Path, rows: Sequence[ResultRow], _incomplete: int = 0) -> None:
    """Write the rows with a header; the file appears complete and replaces an earlier one."""
    with publishing(path) as out:
        out.write((csv_line(COLUMNS) + csv_lines(COLUMNS, rows)).encode())


def csv_line(values: Iterable[object]) -> str:
    """Return one line of a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue()


def csv_lines(columns: Sequence[str], rows: Sequence[ResultRow]) -> str:
    """Return the lines of rows, their other columns left out."""
    return "".join(csv_line(row[column] for column in columns) for row in rows)
