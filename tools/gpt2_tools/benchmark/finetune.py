"""gpt2_benchmark --finetune: plain loops beside it, LoRA beside full training, and the cost of evaluations and saves.

As a script it measures the larger model in a process of its own.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.benchmark.peers.environments import foreign, provide_environment
from gpt2_tools.benchmark.peers.peers import RUNNERS
from gpt2_tools.benchmark.processes.process import own_peak_memory
from gpt2_tools.benchmark.random_checkpoint import make_checkpoint
from gpt2_tools.common.json_process import Answer, JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.dry_run import measure
from gpt2_tools.finetune.log import LOG, read_log
from gpt2_tools.finetune.model import find_base
from gpt2_tools.finetune.run import cpu_has_bf16, run
from gpt2_tools.finetune.settings import Settings

OURS = "gpt2_finetune"
HPARAMS = {"vocab_size": "n_vocab", "n_positions": "n_ctx"}
"""OpenAI's names, which gpt-2-simple uses too."""
WORDS = "The hen in the tall grass hears a storm, and runs home before the fox can see her. "


@dataclass(frozen=True)
class Workload:
    """What is trained. every: steps between evaluations and between saves; the defaults are gpt2_finetune's."""

    model: str = "gpt-2-mini"
    batch: int = 4
    block: int = 256
    steps: int = 12
    every: int = 100
    large: str = "gpt-2"
    large_steps: int = 6
    rank: int = 8
    threads: int | None = None

    def settings(self, text: Path, model: str, **more: Any) -> Settings:
        """Return the settings of gpt2_finetune."""
        return Settings(text, model, threads=self.threads, **more)


def provide_simple(cache: Path, say: Callable[[str], None]) -> list[str]:
    """Return the command that measures gpt-2-simple; its environment is made once. Raises Problem if it cannot be."""
    try:
        python = provide_environment("gpt-2-simple", RUNNERS / "gpt-2-simple.txt", cache, {}, say)
    except PeerFailed as reason:
        raise Problem(f"--with-gpt-2-simple: {reason}") from None
    return [str(python), str(RUNNERS / "train_gpt_2_simple.py")]


def finetune_figures(
    work: Workload, repeats: Repeats, say: Callable[[str], None], simple: Sequence[str] | None = None
) -> dict[str, Figure]:
    """Return the figures: tokens a second of the processor and their ratios, each of one turn; memory; shares.

    simple: the command that measures gpt-2-simple, None to leave it out.
    """
    with tempfile.TemporaryDirectory(prefix="gpt2_benchmark-") as name:
        folder = Path(name)
        text = folder / "text.txt"
        text.write_text("".join(f"{i}. {WORDS}" for i in range(4000)), encoding="utf-8")
        say("gpt2_finetune and a plain loop, in turns ...")
        rates = repeats.of(lambda: _rates(work, text, simple))
        say("evaluations and saves ...")
        shares = _shares(work, text, folder)
        say(f"{work.large}, full and LoRA, in turns ...")
        make_checkpoint(folder / work.large, work.large)
        large = repeats.of(lambda: [_in_a_process(work, folder / work.large, text, rank) for rank in (None, work.rank)])
    return {
        **{name: Figure("tokens / CPU s", tuple(turn[name] for turn in rates)) for name in rates[0]},
        **{
            f"{OURS} / {name}": Figure("times", tuple(turn[OURS] / turn[name] for turn in rates))
            for name in rates[0]
            if name != OURS
        },
        **{name: Figure("%", (share * 100,)) for name, share in shares.items()},
        f"{work.large} full": Figure("tokens / CPU s", tuple(full["rate"] for full, _ in large)),
        f"{work.large} LoRA": Figure("tokens / CPU s", tuple(lora["rate"] for _, lora in large)),
        f"{work.large} LoRA / full": Figure("times", tuple(lora["rate"] / full["rate"] for full, lora in large)),
        f"{work.large} full, memory": Figure("MB", tuple(full["peak"] for full, _ in large)),
        f"{work.large} LoRA, memory": Figure("MB", tuple(lora["peak"] for _, lora in large)),
    }


def _rates(work: Workload, text: Path, simple: Sequence[str] | None) -> dict[str, float]:
    """Return the tokens a CPU second of gpt2_finetune and of the others, one after the other."""
    settings = work.settings(text, work.model, block_size=work.block, batch_size=work.batch, validation_split=0)
    seconds = {
        OURS: measure(settings, work.steps).cpu_seconds,
        "plain loop": _plain_loop(settings, _batches(work)),
    }
    if simple is not None:
        seconds["gpt-2-simple"] = _gpt_2_simple(work, settings, simple)
    return {name: work.batch * work.block / statistics.median(found) for name, found in seconds.items()}


def _gpt_2_simple(work: Workload, settings: Settings, command: Sequence[str]) -> Sequence[float]:
    """Return the processor's seconds of the steps after the first."""
    with ExitStack() as stack:
        size = find_base(settings, stack).size()
    hparams = {HPARAMS.get(name, name): value for name, value in size.items()}
    request = {"hparams": hparams, "threads": work.threads, "batch": work.batch, "block": work.block}
    request |= {"steps": work.steps}
    seconds: list[float] = _ask([*command, json.dumps(request)], "gpt-2-simple", foreign({}))["seconds"]
    return seconds


def _batches(work: Workload) -> list[Any]:
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 256, (work.steps, work.batch, work.block), generator=generator)
    return list(tokens)


def _plain_loop(settings: Settings, batches: Sequence[Any]) -> list[float]:
    """Return the processor's seconds of the steps after the first, of the shortest loop that trains the same model."""
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415

    with ExitStack() as stack:
        folder = find_base(settings, stack).folder
        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0, fused=True)
    seconds = []
    for batch in batches:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - start)
    return seconds[1:]


def _shares(work: Workload, text: Path, folder: Path) -> dict[str, float]:
    """Return the shares of the time that an evaluation and a save take in a run at the defaults, from its log."""
    done = run(
        work.settings(
            text,
            work.model,
            validation_file=text,  # all the blocks that an evaluation may take
            steps=work.every + 10,
            eval_every=work.every,
            save_every=work.every,
            checkpoint_dir=folder,
        )
    )
    log = read_log(done.run / LOG)
    ends = {entry["step"]: entry["seconds"] for entry in log if "loss" in entry}
    evaluated = next(entry["seconds"] for entry in log if "eval_loss" in entry and entry["step"] == work.every)
    step = statistics.median(ends[i + 1] - ends[i] for i in range(1, work.every))
    whole = ends[work.every + 1] - ends[1]
    return {
        "evaluation": (evaluated - ends[work.every]) / whole,
        "saving": (ends[work.every + 1] - evaluated - step) / whole,
    }


def _in_a_process(work: Workload, checkpoint: Path, text: Path, rank: int | None) -> dict[str, float]:
    """Return tokens a CPU second and the peak of the memory in MB, of a process that trains one block at a time."""
    settings = {"model": str(checkpoint), "block_size": work.block, "lora": rank, "validation_split": 0}
    request = json.dumps({"work": asdict(work), "text": str(text), "settings": settings})
    return _ask([sys.executable, "-m", __name__, request], work.large)


def _ask(command: Sequence[str], name: str, variables: Mapping[str, str] | None = None) -> Answer:
    """Return what a process says in its only line. Raises Problem with the name of what it measures."""
    try:
        with JsonProcess(command, variables=variables) as process:
            return process.first
    except PeerFailed as reason:
        raise Problem(f"--finetune: {name}: {reason}") from None


def main(request: str) -> None:
    """Measure what another process asks for, and print it."""
    asked = json.loads(request)
    work = Workload(**asked["work"])
    settings = work.settings(Path(asked["text"]), **asked["settings"])
    seconds = statistics.median(measure(settings, work.large_steps).cpu_seconds)
    peak = own_peak_memory().get("peak", 0.0) * 2**20 / 1e6
    print(json.dumps({"rate": work.block / seconds, "peak": peak}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
