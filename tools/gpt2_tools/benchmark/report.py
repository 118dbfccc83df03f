"""What gpt2_benchmark prints: a table for people, then one line of JSON for machines. It measures nothing."""

import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.runtime import versions
from omz_model_tools.common.report import Report


def say(line: str) -> None:
    """Tell what goes on."""
    print(line, file=sys.stderr, flush=True)


def print_figures(
    report: Report,
    workload: Mapping[str, object],
    repeats: Repeats,
    figures: Mapping[str, Figure],
    not_run: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print the figures, what is not among them and why, and all of it once more as JSON."""
    for line in figure_lines(figures):
        report.line(line)
    for name, reason in not_run.items():
        report.line(f"not run: {name}: {reason}")
    report.line(json.dumps(circumstances(workload, repeats) | {"figures": figures_as_json(figures)}))


def figure_lines(figures: Mapping[str, Figure]) -> list[str]:
    """Return a line for each, aligned."""
    width = max(map(len, figures))
    return [f"{name:<{width}}  {figure.text()}" for name, figure in figures.items()]


def circumstances(workload: Mapping[str, object], repeats: Repeats) -> dict[str, object]:
    """Return what was run, how often, by which versions and on which machine."""
    return {
        **workload,
        "num_iter": repeats.runs,
        "num_warmup": repeats.warmup,
        "versions": versions(),
        "machine": {"system": platform.platform(), "processor": processor()},
    }


def figures_as_json(figures: Mapping[str, Figure]) -> dict[str, object]:
    """Return them for the JSON."""
    return {name: figure.as_json() for name, figure in figures.items()}


def processor() -> str:
    """Return what this machine's processor calls itself; empty where it does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
