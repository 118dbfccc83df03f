"""gpt2_benchmark --finetune: a plain loop of PyTorch, LoRA beside full training, and the cost of evaluations and saves.

As a script, `python -m gpt2_tools.benchmark.finetune CHECKPOINT TEXT RANK`, it measures 124M in a process of its own.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.benchmark.processes.process import own_peak_memory
from gpt2_tools.benchmark.random_checkpoint import make_checkpoint
from gpt2_tools.common.json_process import JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.dry_run import Measured, measure
from gpt2_tools.finetune.log import LOG, read_log
from gpt2_tools.finetune.run import finetune
from gpt2_tools.finetune.settings import Settings
from gpt2_tools.finetune.tokens import collate

MODEL = "gpt-2-mini"
STEPS, BATCH, BLOCK = 12, 4, 256
LARGE, RANK, LARGE_STEPS = "gpt-2", 8, 6
WORDS = "The hen in the tall grass hears a storm, and runs home before the fox can see her. "


def finetune_figures(threads: int | None, repeats: Repeats, say: Callable[[str], None]) -> dict[str, Figure]:
    """Return the figures: tokens a second and their ratios, each of one run, memory, and shares of the time."""
    with tempfile.TemporaryDirectory(prefix="gpt2_benchmark-") as name:
        folder = Path(name)
        text = folder / "text.txt"
        text.write_text("".join(f"{i}. {WORDS}" for i in range(4000)), encoding="utf-8")
        settings = Settings(text, MODEL, batch_size=BATCH, block_size=BLOCK, threads=threads, validation_split=0)
        say("gpt2_finetune and a plain loop, in turns ...")
        rates = repeats.of(lambda: _both(settings))
        say("evaluations and saves ...")
        shares = _shares(text, folder, threads)
        say(f"{LARGE}, full and LoRA, in turns ...")
        make_checkpoint(folder / LARGE, LARGE)
        large = repeats.of(lambda: [_in_a_process(folder / LARGE, text, rank, threads) for rank in (0, RANK)])
    return {
        "gpt2_finetune": Figure("tokens/s", tuple(ours for ours, _ in rates)),
        "plain loop": Figure("tokens/s", tuple(plain for _, plain in rates)),
        "gpt2_finetune / plain loop": Figure("times", tuple(ours / plain for ours, plain in rates)),
        **{name: Figure("%", (share * 100,)) for name, share in shares.items()},
        "124M full": Figure("tokens/s", tuple(full["rate"] for full, _ in large)),
        "124M LoRA": Figure("tokens/s", tuple(lora["rate"] for _, lora in large)),
        "124M LoRA / full": Figure("times", tuple(lora["rate"] / full["rate"] for full, lora in large)),
        "124M full, memory": Figure("MB", tuple(full["peak"] * 2**20 / 1e6 for full, _ in large)),
        "124M LoRA, memory": Figure("MB", tuple(lora["peak"] * 2**20 / 1e6 for _, lora in large)),
    }


def _both(settings: Settings) -> tuple[float, float]:
    """Return the tokens a second of gpt2_finetune and of a plain loop, one after the other."""
    measured = measure(settings, STEPS)
    return _rate(settings, measured.seconds), _rate(settings, _plain_loop(measured))


def _rate(settings: Settings, seconds: Sequence[float]) -> float:
    return settings.blocks_per_step * BLOCK / statistics.median(seconds)


def _plain_loop(measured: Measured) -> list[float]:
    """Return the seconds of each step of the shortest loop that trains the same model on the same batches."""
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415

    with as_file(files("omz_models") / "public" / MODEL) as folder:
        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0, fused=True)
    seconds = []
    for step in range(STEPS):
        start = time.perf_counter()
        batch = collate([measured.train[step * BATCH + i] for i in range(BATCH)])
        with torch.autocast("cpu", torch.bfloat16, enabled=measured.plan.is_bf16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def _shares(text: Path, folder: Path, threads: int | None) -> dict[str, float]:
    """Return the shares of an evaluation and of a save in a run with the default intervals, from its log."""
    settings = Settings(text, MODEL)
    every = settings.eval_every
    done = finetune(
        text, model=MODEL, steps=every + 10, batch_size=BATCH, block_size=BLOCK, threads=threads, checkpoint_dir=folder
    )
    log = read_log(done.run / LOG)
    ends = {entry["step"]: entry["seconds"] for entry in log if "loss" in entry}
    evaluated = next(entry["seconds"] for entry in log if "eval_loss" in entry and entry["step"] == every)
    step = statistics.median(ends[i + 1] - ends[i] for i in range(1, every))
    whole = ends[every + 1] - ends[1]
    return {
        "evaluation": (evaluated - ends[every]) / whole,
        "saving": (ends[every + 1] - evaluated - step) / whole,
    }


def _in_a_process(checkpoint: Path, text: Path, rank: int, threads: int | None) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, str(checkpoint), str(text), str(rank), str(threads or 0)]
    try:
        with JsonProcess(command) as process:
            return process.first
    except PeerFailed as reason:
        raise Problem(f"--finetune: {LARGE}: {reason}") from None


def main(checkpoint: str, text: str, rank: str, threads: str) -> None:
    """Print tokens a second and the peak of the memory, in MB."""
    settings = Settings(
        Path(text),
        checkpoint,
        lora=int(rank) or None,
        threads=int(threads) or None,
        block_size=BLOCK,
        validation_split=0,
    )
    measured = measure(settings, LARGE_STEPS)
    print(json.dumps({"rate": _rate(settings, measured.seconds), **own_peak_memory()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
