"""accuracy_check: Open Model Zoo's command over `gpt2_evaluate accuracy-check`, with its devices and CSV file."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.accuracy_check_yml import DEFINITIONS, LAUNCHERS, Check, read_config, read_definitions
from gpt2_tools.evaluate.commands.accuracy_check import (
    OMZ_COLUMNS,
    Job,
    ResultRow,
    csv_line,
    csv_lines,
    find_model,
    run_jobs,
)
from omz_model_tools.common import check_file, disk_problems, publishing

OPENVINO = "openvino"


def run(args: argparse.Namespace) -> int:
    """Measure, print and judge; return the exit code, 1 if a metric is not within its thresholds."""
    definitions = DEFINITIONS if args.definitions is None else read_definitions(args.definitions)
    checks = with_one_name(read_config(args.config, LAUNCHERS if args.target_framework else (), definitions))
    devices = [device.upper() for device in args.target_devices]
    found = [(check, find_model(path, check.model)) for check in checks for path in args.models]
    jobs = [Job(check, model, device) for check, model in found for device in devices]
    if args.csv_result is not None:
        earlier_lines(args.csv_result)  # a file that cannot be used is a problem before anything is measured
    subset = args.subsample_size or (lambda windows: windows)
    return run_jobs(args, jobs, subset, append_csv)


def with_one_name(checks: Sequence[Check]) -> list[Check]:
    """Return checks with dlsdk, OpenVINO's older name, as openvino; a model that has launchers of both keeps these."""
    newer = {check.model for check in checks if check.framework == OPENVINO}
    return [
        replace(check, framework=OPENVINO)
        for check in checks
        if check.framework == OPENVINO or check.model not in newer
    ]


def append_csv(path: Path, rows: Sequence[ResultRow], incomplete: int) -> None:
    """Append rows, but for the last incomplete ones, to a CSV file with Open Model Zoo's columns.

    What a config does not give has Open Model Zoo's words.
    """
    missing = {"ref": "", "abs_threshold": 0, "rel_threshold": 0}
    given = [
        row | {name: word for name, word in missing.items() if row[name] is None}
        for row in rows[: len(rows) - incomplete]
    ]
    text = (earlier_lines(path) or csv_line(OMZ_COLUMNS)) + csv_lines(OMZ_COLUMNS, given)
    with publishing(path) as out:
        out.write(text.encode())


def earlier_lines(path: Path) -> str:
    """Return the content of a CSV file, nothing where there is none. Raises Problem for a file of another kind."""
    check_file(path)
    expected = f"{path}: expected a CSV file with the columns {','.join(OMZ_COLUMNS)}"
    with disk_problems(path):
        if not path.exists():
            return ""
        raw = path.read_bytes()
    header = csv_line(OMZ_COLUMNS)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "bytes that are not UTF-8"
    if text and text.splitlines()[0] != header.rstrip():
        raise Problem(f"{expected}, got {text.splitlines()[0][:80]!r}; give another --csv_result")
    return text if text.endswith("\n") or not text else f"{text}\r\n"
