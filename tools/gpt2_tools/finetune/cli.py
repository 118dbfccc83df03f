"""gpt2_finetune: fine-tune a GPT-2 on a text, or train one from scratch, and convert it for the demo.

stdout gets the demo's command for the new model; all else is on stderr.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2_tools.common.problem import guarded
from gpt2_tools.finetune.arguments import parse
from gpt2_tools.finetune.settings import LATEST, Settings
from omz_model_tools.common import Report, ends_at_once, say

if TYPE_CHECKING:
    from gpt2_tools.finetune.task import Finetuned

SIGNALLED = 128
"""Added to a signal's number, as a shell reports it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return guarded(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    settings, is_dry = parse(argv)
    with ends_at_once():  # OpenVINO, which --help need not wait for
        from gpt2_tools.finetune.dry_run import dry_run  # noqa: PLC0415
        from gpt2_tools.finetune.run import run, task_of  # noqa: PLC0415
    report = Report(sys.stdout, sys.stderr)
    if is_dry:
        for line in dry_run(settings):
            report.line(line)
        return 0
    done = run(settings)
    return _report(done, settings, task_of(settings).command, report)


def _report(done: "Finetuned", settings: Settings, command: Callable[[Path, Settings], str], report: Report) -> int:
    if done.signal is not None:
        latest = "" if settings.restore_from == LATEST else f" with --restore_from {LATEST}"
        say(f"{done.run}: stopped and saved at step {done.step}; the same command{latest} resumes it")
        return SIGNALLED + done.signal
    if done.perplexity is not None:
        say(f"{done.run}: step {done.step}, validation perplexity {done.perplexity:.2f}")
    if done.model is not None and done.ir is not None:
        say(f"{done.model}: for transformers; {done.ir}: for OpenVINO:")
        report.line(command(done.ir, settings))
    return 0
