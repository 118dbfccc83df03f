"""gpt2_finetune --dry_run: will this computer do? Tokens, steps, and measured time and memory."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpt2_tools.benchmark.processes.process import own_peak_memory
from gpt2_tools.common.progress import duration
from gpt2_tools.finetune.callback import Stop
from gpt2_tools.finetune.run import (
    check_block,
    prepare_vocabulary,
    require_libraries,
    resolve,
    set_threads,
    start_libraries,
    task_of,
)
from gpt2_tools.finetune.run_folder import RunFolder
from gpt2_tools.finetune.settings import Settings
from gpt2_tools.finetune.task import Prepared, Task
from gpt2_tools.finetune.trainer import Plan

MEASURED = 4
"""Steps that are run; the first does not count."""


@dataclass(frozen=True)
class Measured:
    """A run as it would be, and what some of its steps took, without the first."""

    prepared: Prepared
    tokens: Any
    plan: Plan
    train: Any
    seconds: Sequence[float]
    cpu_seconds: Sequence[float]  # of all threads: other work on the machine changes them little


def dry_run(settings: Settings) -> Iterator[str]:
    """Yield the lines of a report; what is written is deleted."""
    measured = measure(settings, MEASURED)
    tokens, plan, seconds = measured.tokens, measured.plan, statistics.median(measured.seconds)
    yield from task_of(settings).counts(measured.prepared, tokens, plan, (measured.train, None))
    whole = duration(seconds * plan.steps)
    yield f"one step: {seconds:.3g} s, measured, in {plan.settings.precision}; all: {whole}, beside evaluations"
    for name, mebibytes in own_peak_memory().items():
        yield f"memory at its {name}: {mebibytes * 2**20 / 1e9:.2f} GB"
    yield f"disk: {disk_bytes(measured.prepared, tokens.train + tokens.validation) / 1e9:.2f} GB in {settings.run_dir}"


def measure(settings: Settings, steps: int) -> Measured:
    """Run some steps, without saving; what is written is deleted."""
    require_libraries()
    start_libraries(settings)
    task = task_of(settings)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpt2_finetune-")))
        base = task.base(settings, stack)
        check_block(settings, base)
        source, validation = task.sources(settings)
        settings = resolve(settings, base)
        set_threads(settings)
        base, vocabulary = prepare_vocabulary(settings, base, source, None)
        prepared = Prepared(settings, base, vocabulary, source, validation, 1)
        tokens = task.write(folder, prepared)
        plan, (train, _) = task.plan(prepared, tokens, RunFolder(folder), folder, saves=False)
        shorter = replace(settings, epochs=None, steps=steps, sample_every=0, sample_prompt="")
        few = replace(plan, steps=steps, settings=shorter)
        return Measured(prepared, tokens, plan, train, *_run_steps(task, prepared, few, train))


def _run_steps(task: Task, prepared: Prepared, plan: Plan, train: Any) -> tuple[list[float], list[float]]:
    """Run the steps of a plan; return the seconds between their ends, and those of the processor."""
    times: list[tuple[float, float]] = []
    trainer, callback = task.trained(prepared, plan, (train, None), Stop())
    trainer.add_callback(_clock(times))
    try:
        trainer.train()
    finally:
        callback.close()
    real, cpu = zip(*times, strict=True)
    return [after - before for before, after in pairwise(real)], [after - before for before, after in pairwise(cpu)]


def _clock(times: list[tuple[float, float]]) -> Any:
    from transformers import TrainerCallback  # noqa: PLC0415

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append((time.perf_counter(), time.process_time()))

    return Clock()


def disk_bytes(prepared: Prepared, tokens: int) -> int:
    """Return what a run needs on the disk at most: tokens, checkpoints, one being written, the model and its IRs."""
    settings, weights = prepared.settings, prepared.weight_bytes
    is_small = settings.lora is not None  # its checkpoints hold the adapters alone
    checkpoint = 0 if is_small else 3 * weights
    kept = settings.keep + 1 + (settings.early_stopping is not None)
    width = 2 if prepared.base.config.vocab_size <= 2**16 else 4
    return int(width * tokens + kept * checkpoint + 2.5 * weights)
