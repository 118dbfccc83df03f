"""gpt2_finetune --dry_run: will this computer do? Tokens, steps, and measured time and memory."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpt2_tools.benchmark.processes.process import own_peak_memory
from gpt2_tools.common.progress import duration
from gpt2_tools.finetune.callback import Stop, make_callback
from gpt2_tools.finetune.model import find_base
from gpt2_tools.finetune.run import (
    Prepared,
    check_block,
    make_plan,
    make_trained,
    prepare_vocabulary,
    require_libraries,
    sources,
    start_libraries,
)
from gpt2_tools.finetune.run_folder import RunFolder
from gpt2_tools.finetune.settings import Settings
from gpt2_tools.finetune.tokens import write_tokens

MEASURED = 4
"""Steps that are run; the first does not count."""


def dry_run(settings: Settings) -> Iterator[str]:
    """Yield the lines of a report; what is written is deleted."""
    require_libraries()
    start_libraries(settings)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpt2_finetune-")))
        base = find_base(settings, stack)
        check_block(settings, base)
        source, validation = sources(settings)
        base, vocabulary = prepare_vocabulary(settings, base, source, None)
        tokens = write_tokens(folder, source, vocabulary.encoder(base.config.vocab_size), validation)
        prepared = Prepared(settings, base, vocabulary, source, validation, 1)
        plan, (train, _) = make_plan(prepared, tokens, RunFolder(folder), folder, saves=False)
        yield f"documents: {tokens.documents}; tokens: {tokens.train} to train on, {tokens.validation} to validate on"
        yield f"blocks of {prepared.block_size}: {len(train)}; steps: {plan.steps} of {settings.blocks_per_step} blocks"
        measured = replace(
            plan, steps=MEASURED, settings=replace(settings, epochs=None, steps=MEASURED, sample_every=0)
        )
        seconds = _seconds_a_step(prepared, measured, (train, None), folder)
        yield (
            f"one step: {seconds:.3g} s, measured, in {'bf16' if plan.is_bf16 else 'f32'}; all: "
            f"{duration(seconds * plan.steps)}, beside evaluations"
        )
        for name, megabytes in own_peak_memory().items():
            yield f"memory at its {name}: {megabytes / 1000:.2f} GB"
        yield f"disk: {disk_bytes(prepared, tokens.train + tokens.validation) / 1e9:.2f} GB in {settings.run_dir}"


def _seconds_a_step(prepared: Prepared, plan: Any, data: Any, folder: Path) -> float:
    """Run some steps; return the median of their times."""
    times: list[float] = []
    callback = make_callback(plan.settings, folder, prepared.vocabulary, Stop())
    trainer = make_trained(prepared, plan, data, callback)
    trainer.add_callback(_clock(times))
    try:
        trainer.train()
    finally:
        callback.close()
    return statistics.median(after - before for before, after in pairwise(times))


def _clock(times: list[float]) -> Any:
    from transformers import TrainerCallback  # noqa: PLC0415

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    return Clock()


def disk_bytes(prepared: Prepared, tokens: int) -> int:
    """Return what a run needs on the disk at most: tokens, checkpoints, one being written, the model and its IRs."""
    settings, weights = prepared.settings, prepared.weight_bytes
    is_small = settings.lora is not None  # its checkpoints hold the adapters alone
    checkpoint = 0 if is_small else 3 * weights
    kept = settings.keep + 1 + (settings.early_stopping is not None)
    width = 2 if prepared.base.config.vocab_size <= 2**16 else 4
    return int(width * tokens + kept * checkpoint + 2.5 * weights)
