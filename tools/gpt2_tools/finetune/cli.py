"""gpt2_finetune: fine-tune a GPT-2 on a text, or train one from scratch, and convert it for the demo.

stdout gets the demo's command for the new model; all else is on stderr.
"""

import sys
from collections.abc import Sequence

from gpt2_tools.common.problem import guarded
from gpt2_tools.finetune.arguments import parse
from gpt2_tools.finetune.dry_run import dry_run
from gpt2_tools.finetune.run import run, task_of
from gpt2_tools.finetune.settings import LATEST, Settings
from gpt2_tools.finetune.task import Finetuned
from omz_model_tools.common import Report, say

SIGNALLED = 128
"""Added to a signal's number, as a shell reports it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return guarded(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    settings, is_dry = parse(argv)
    report = Report(sys.stdout, sys.stderr)
    if is_dry:
        for line in dry_run(settings):
            report.line(line)
        return 0
    done = run(settings)
    return _report(done, settings, report)


def _report(done: Finetuned, settings: Settings, report: Report) -> int:
    if done.signal is not None:
        latest = "" if settings.restore_from == LATEST else f" with --restore_from {LATEST}"
        say(f"{done.run}: stopped and saved at step {done.step}; the same command{latest} resumes it")
        return SIGNALLED + done.signal
    if done.perplexity is not None:
        say(f"{done.run}: step {done.step}, validation perplexity {done.perplexity:.2f}")
    if done.model is not None and done.ir is not None:
        say(f"{done.model}: for transformers; {done.ir}: for OpenVINO:")
        report.line(task_of(settings).command(done.ir, settings))
    return 0
