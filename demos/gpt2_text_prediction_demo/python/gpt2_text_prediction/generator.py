"""Text in, its continuation out: tokenizer, engine and sampling put together. It prints nothing.

from gpt2_text_prediction import Sampling, TextGenerator
"""

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gpt2_text_prediction.engine import Engine, load_engine
from gpt2_text_prediction.ir import check_files
from gpt2_text_prediction.problem import Problem, readable
from gpt2_text_prediction.rows import Cache, Row
from gpt2_text_prediction.sampling import Sampling, choose
from gpt2_text_prediction.tokenizer import END_OF_TEXT, GPT2Tokenizer, TextStream


def configuration(device: str, precision_hint: str | None = None, num_threads: int | None = None) -> dict[str, Any]:
    """Return the properties that suit one conversation on a device.

    precision_hint: "device" leaves the arithmetic to the device; None means f32 on a CPU, since one with bf16
    uses that by default and then decodes a single row slower and less exactly, and "device" elsewhere. A CPU keeps
    the cache in f16, unless all is left to it: more exact than its default of u8, and faster behind a long text.
    """
    on_cpu = device.startswith("CPU")
    hint = precision_hint or ("f32" if on_cpu else "device")
    config: dict[str, Any] = {} if hint == "device" else {"INFERENCE_PRECISION_HINT": hint}
    if on_cpu and hint != "device":
        config["KV_CACHE_PRECISION"] = "f16"
    return config if num_threads is None else config | {"INFERENCE_NUM_THREADS": num_threads}


class TextGenerator:
    """A loaded model with its tokenizer; `stream` continues a prompt."""

    def __init__(
        self,
        model: str | Path,
        *,
        vocab: str | Path | None = None,
        merges: str | Path | None = None,
        device: str = "CPU",
        config: dict[str, Any] | None = None,
        max_seq_len: int | None = None,
    ) -> None:
        """Load a model and the vocabulary, which lies beside it unless it is given.

        config: properties of the device, by default those of `configuration`.
        max_seq_len: how many tokens prompt and continuation may have, by default the model's positions.
        Raises Problem for files or settings that cannot be used.
        """
        model = Path(model)
        check_files(model)
        self.tokenizer = GPT2Tokenizer(*find_tokenizer_files(model, vocab, merges))
        self.engine = load_engine(model, device, configuration(device) if config is None else config, max_seq_len)
        if self.engine.vocab_size != self.tokenizer.vocab_size:
            raise Problem(
                f"{model}: has {self.engine.vocab_size} tokens, its tokenizer {self.tokenizer.vocab_size}; "
                "give the model's own files with --vocab and --merges"
            )
        eos = self.engine.eos_token_id
        self.eos_token_id = self.tokenizer.end_of_text_id if eos is None else eos

    def stream(
        self,
        prompt: str,
        sampling: Sampling | None = None,
        *,
        max_new_tokens: int = 40,
        index: tuple[int, int] = (0, 0),
        clock: Callable[[], float] = time.perf_counter,
    ) -> "Stream":
        """Return the continuation of a prompt as an iterator over its text, which is made as it is asked for.

        An empty prompt starts a new text. index is (prompt, sample): with the same seed, other places in a run
        draw other texts. clock: seconds.
        Raises Problem for a prompt that is too long or not valid Unicode.
        """
        return Stream(self, prompt, sampling or Sampling(), max_new_tokens, index, clock)

    def prompt_tokens(self, prompt: str) -> list[int]:
        """Return the ids of a prompt that leaves room for a token behind it, else raise Problem."""
        fits = self.engine.n_positions - 1
        size = len(prompt.encode(errors="replace"))
        if size > max(fits * self.tokenizer.longest_token, 1 << 17):  # BPE would take minutes to count its tokens
            raise Problem(f"the prompt has {size} bytes; at most {fits} tokens fit, with room for one new: shorten it")
        tokens = self.tokenizer.encode(prompt)
        if not tokens:
            if self.eos_token_id is None:
                raise Problem(f"the prompt is empty, and the vocabulary has no {END_OF_TEXT} to start a text with")
            return [self.eos_token_id]
        if len(tokens) > fits:
            raise Problem(f"the prompt has {len(tokens)} tokens; at most {fits} fit, with room for one new: shorten it")
        return tokens

    def close(self) -> None:
        """Let go of the model; the generator cannot be used afterwards."""
        del self.engine

    def __enter__(self) -> "TextGenerator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stream:
    """One continuation: iterate over its text once; everything else about it grows with the iteration.

    tokens: the new ids, without the one that ends a text. finish_reason: None while it runs, "stop" at the end
    of the text, "length" at max_new_tokens or where the model's positions end. times: seconds on the clock, at
    the start and after each step.
    """

    def __init__(
        self,
        generator: TextGenerator,
        prompt: str,
        sampling: Sampling,
        max_new_tokens: int,
        index: tuple[int, int],
        clock: Callable[[], float],
    ) -> None:
        if max_new_tokens < 1:
            raise Problem(f"max_new_tokens: expected a whole number from 1, got {max_new_tokens}")
        self.sampling = sampling
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self.prompt_tokens = generator.prompt_tokens(prompt)
        self.tokens: list[int] = []
        self.finish_reason: str | None = None
        self.times: list[float] = []
        self._generator = generator
        self._clock = clock
        self._room = generator.engine.n_positions - len(self.prompt_tokens)
        self._most = min(max_new_tokens, self._room)
        self._rng = np.random.default_rng([self.seed, *index])

    @property
    def out_of_positions(self) -> bool:
        """Whether it ended because prompt and continuation have filled all positions, or max_seq_len."""
        return self.finish_reason == "length" and len(self.tokens) == self._room

    def __iter__(self) -> Iterator[str]:
        text = TextStream(self._generator.tokenizer)
        for token in self._new_tokens(self._generator.engine):
            piece = text.push(token)
            if piece:
                yield piece
        tail = text.close()
        if tail:
            yield tail

    def _new_tokens(self, engine: Engine) -> Iterator[int]:
        cache = Cache()
        new = self.prompt_tokens
        self.times.append(self._clock())
        while len(self.tokens) < self._most:
            (logits,) = engine.step([Row(cache, new)])
            token = choose(logits[0], self.sampling, self._rng)
            self.times.append(self._clock())
            if token == self._generator.eos_token_id:
                self.finish_reason = "stop"
                return
            self.tokens.append(token)
            yield token
            new = [token]
        self.finish_reason = "length"


def find_tokenizer_files(model: Path, vocab: str | Path | None, merges: str | Path | None) -> tuple[Path, Path]:
    """Return the paths of vocab.json and merges.txt: those given, else those beside the model.

    Raises Problem, naming the places, where one is in neither.
    """
    found = []
    for flag, given, name in (("--vocab", vocab, "vocab.json"), ("--merges", merges, "merges.txt")):
        path = model.parent / name if given is None else Path(given)
        with readable(path):
            found_it = path.is_file()
        if not found_it:
            where = "" if given is not None else f"; looked beside {model.name}: give it with {flag}"
            raise Problem(f"{path}: there is no such file; expected the model's {name}{where}")
        found.append(path)
    return found[0], found[1]
