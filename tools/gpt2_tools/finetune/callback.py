"""What happens at every step: the log, the bar or loss lines, samples, and the stop that a signal asks for."""

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from gpt2_tools.finetune.data.vocabulary import Vocabulary
from gpt2_tools.finetune.log import Log, loss_line
from gpt2_tools.finetune.run_folder import SAMPLES
from gpt2_tools.finetune.settings import Settings
from omz_model_tools.common import disk_problems, say

if TYPE_CHECKING:
    from transformers import TrainerCallback as _TrainerCallback
else:
    _TrainerCallback = object  # added by make_callback, since transformers is imported inside functions

PRINTED_EVERY = 10
"""Steps between loss lines, where stderr is no terminal."""
SAMPLE_TOKENS = 100
TEMPERATURE, TOP_K = 0.7, 40


class Stop:
    """The signal that asked to save and end, if any did."""

    signal: int | None = None


@contextmanager
def stopped_by_signals(stop: Stop) -> Iterator[None]:
    """Note Ctrl-C and SIGTERM within the block; a second Ctrl-C raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """A bar with the time left on a terminal, else gpt-2-simple's loss line every few steps."""

    def __init__(self, steps: int, step: int, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._steps, self._start, self._bar = steps, time.monotonic(), None
        if self._stream.isatty():
            from tqdm import tqdm  # noqa: PLC0415

            self._bar = tqdm(total=steps, initial=step, unit="step", file=self._stream, leave=False)

    def step(self, step: int, loss: float, average: float) -> None:
        """Show a step."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss={loss:.2f} avg={average:.2f}", refresh=False)
            self._bar.update()
        elif step % PRINTED_EVERY == 0 or step == self._steps:
            say(loss_line(step, time.monotonic() - self._start, loss, average), self._stream)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        say(line, self._stream)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Erase the bar."""
        if self._bar is not None:
            self._bar.close()


class Steps(_TrainerCallback):
    """The first process logs, shows and samples; every process stops when one is asked to."""

    def __init__(self, settings: Settings, folder: Path, vocabulary: Vocabulary, stop: Stop) -> None:
        self.settings, self.folder, self.vocabulary, self.stop = settings, folder, vocabulary, stop
        self.trainer: Any = None
        self.log: Log | None = None
        self.progress: Progress | None = None
        self.start = time.monotonic()
        self.learning_rate = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the log where the run goes on, whose state the trainer has just read."""
        self.trainer.forget_lost_best()
        if args.should_save:
            self.log = Log(self.folder / "log.jsonl", state.global_step)
            self.progress = Progress(state.max_steps, state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Make the step's random numbers its own, and note its learning rate, which is another when it ends."""
        self.trainer.seed_step()
        self.learning_rate = self.trainer._get_learning_rate()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the step, sample, and stop if asked to; the last step is evaluated."""
        trainer, step = self.trainer, state.global_step
        loss = self._agreed()
        if self.log is not None and self.progress is not None:
            self.log.add(
                {
                    "step": step,
                    "loss": loss,
                    "learning_rate": self.learning_rate,
                    "gradient_norm": trainer.gradient_norm,
                    **self._seconds(),
                }
            )
            self.progress.step(step, loss, self.log.average)
            if self.settings.sample_every and (step % self.settings.sample_every == 0 or step == state.max_steps):
                self._sample(step)
        if step == state.max_steps and trainer.eval_dataset is not None and self.settings.eval_every:
            control.should_evaluate = True
        if self.stop.signal is not None:
            control.should_training_stop = control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Log an evaluation."""
        if self.log is not None and self.progress is not None:
            found, words = self.evaluation(metrics)
            self.log.add({"step": state.global_step, **found, **self._seconds()})
            self.progress.say(f"[{state.global_step}] validation {words}")

    def evaluation(self, metrics: dict[str, float]) -> tuple[dict[str, float], str]:
        """Return an evaluation for the log, and in words."""
        loss = float(metrics["eval_loss"])
        perplexity = math.exp(min(loss, 700))
        return {"eval_loss": loss, "perplexity": perplexity}, f"loss={loss:.4f} perplexity={perplexity:.2f}"

    def _seconds(self) -> dict[str, float]:
        return {"seconds": round(time.monotonic() - self.start, 3)}

    def close(self) -> None:
        """Close the log and the bar."""
        if self.log is not None:
            self.log.close()
        if self.progress is not None:
            self.progress.close()

    def _agreed(self) -> float:
        """Return the mean loss of all processes; a signal that one of them was sent stops all at the same step."""
        loss: float = self.trainer.last_loss
        processes = self.trainer.args.world_size
        if processes > 1:
            import torch  # noqa: PLC0415

            found = torch.tensor([loss / processes, self.stop.signal or 0], dtype=torch.float64)
            torch.distributed.all_reduce(found[:1])
            torch.distributed.all_reduce(found[1:], torch.distributed.ReduceOp.MAX)
            loss, self.stop.signal = float(found[0]), int(found[1]) or None
        return loss

    def _sample(self, step: int) -> None:
        assert self.progress is not None
        import torch  # noqa: PLC0415

        settings = self.settings
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):  # as trained
            text = sample(self.trainer.model, self.vocabulary, settings.sample_prompt, settings.seed + step)
        path = self.folder / SAMPLES / f"samples-{step}.txt"
        with disk_problems(path):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        self.progress.say(f"======== SAMPLE {step} ========\n{text}")


def sample(model: Any, vocabulary: Vocabulary, prompt: str, seed: int) -> str:
    """Return the prompt and a continuation; the same for the same weights and seed."""
    import torch  # noqa: PLC0415

    encoder, positions = vocabulary.encoder(), model.config.n_positions
    begin = next((i for i in (vocabulary.begin, vocabulary.end) if i is not None), 0)
    new = min(SAMPLE_TOKENS, positions // 2)
    ids = torch.tensor([(encoder.encode([prompt])[0] or [begin])[-(positions - new) :]])
    torch.manual_seed(seed)
    model.eval()
    with torch.no_grad():
        tokens = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=TOP_K,
            use_cache=True,
            pad_token_id=begin,
        )[0].tolist()
    return vocabulary.decode(tokens if prompt else tokens[1:])


def make_callback(
    settings: Settings, folder: Path, vocabulary: Vocabulary, stop: Stop, kind: type[Steps] = Steps
) -> Steps:
    """Return a Steps, whose class transformers' TrainerCallback completes."""
    from transformers import TrainerCallback  # noqa: PLC0415

    made: Any = type(kind.__name__, (kind, TrainerCallback), {})
    callback: Steps = made(settings, folder, vocabulary, stop)
    return callback
