"""Text in, its continuation out: tokenizer, engine and sampling put together.

from gpt2_text_prediction import Sampling, TextGenerator
"""

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np

from gpt2_text_prediction.argument_types import require_arguments, require_type
from gpt2_text_prediction.engine.configuration import GROUP, INFERENCE, DeviceConfig
from gpt2_text_prediction.engine.engine import Engine, ModelSpec, default_back_end, make_engine, read_spec
from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.engine.scheduler import (
    CLOSED,
    MAX_WAITING_CALLERS,
    Scheduler,
    loop_queue,
    raise_error,
    running,
)
from gpt2_text_prediction.engine.sequence import Logits, StepInput
from gpt2_text_prediction.generation.beam_search import Beams, beam_search
from gpt2_text_prediction.generation.logits_processors import argmax, drawn_never, require_count
from gpt2_text_prediction.generation.request import GenerateRequest, Prompt, ScoreRequest, logprob
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.generation_config import read_generation_config
from gpt2_text_prediction.input_processor import InputProcessor, Limits, ProcessedPrompt
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.results import NextToken, Result, Score
from gpt2_text_prediction.settings import MOST_TEXTS, SETTINGS
from gpt2_text_prediction.stream import Stream
from gpt2_text_prediction.text.stopping import StoppingDetokenizer, TextRules
from gpt2_text_prediction.text.tokenizer import load_tokenizer


class TextGenerator:
    """A loaded model with its tokenizer. Any number of threads may use it; their texts share the engine's steps.

    stream continues one prompt, generate several; score and next_tokens return probabilities. default_sampling: used
    where no Sampling is given: of the generation_config.json beside the model, else Sampling().
    """

    def __init__(  # noqa: PLR0913  # each is a choice of the user's, by name
        self,
        model: str | Path,
        *,
        vocab: str | Path | None = None,
        merges: str | Path | None = None,
        device: str = "CPU",
        precision_hint: Literal["auto", "f32", "bf16", "f16", "device"] = "auto",
        num_threads: int | None = None,
        config: Mapping[str, Any] | None = None,
        max_seq_len: int | None = None,
        back_end: Literal["paged", "stateful", "static"] | None = None,
        cache_budget: int | None = None,
        prompt_lookup: bool | None = None,
        max_waiting_callers: int = MAX_WAITING_CALLERS,
        use_generation_config: bool = True,
    ) -> None:
        """Load a model and its tokenizer, which is looked for beside it unless vocab and merges are given.

        precision_hint: the arithmetic. "auto" chooses what is fast on this CPU for several texts at once, and exact
        enough; "device" is what OpenVINO chooses. num_threads: by default the device's choice.
        config: properties of the device, by OpenVINO's names, which count before these two.
        max_seq_len: how many tokens prompt and continuation may have, by default the model's positions.
        back_end, cache_budget: see load_engine; by default "paged" on a CPU and "stateful" elsewhere.
        prompt_lookup: whether tokens are drafted from what the text had before; the text stays the same. By default
        where the cache is paged: elsewhere a wrong draft costs too much.
        max_waiting_callers: how many calls may wait for their turn; one more raises Busy, a Problem.
        use_generation_config: whether default_sampling is of the generation_config.json beside the model.
        Raises Problem for files or settings that cannot be used.
        """
        require_arguments(
            model=model,
            vocab=vocab,
            merges=merges,
            device=device,
            precision_hint=precision_hint,
            num_threads=num_threads,
            config=config,
            max_seq_len=max_seq_len,
            back_end=back_end,
            cache_budget=cache_budget,
            prompt_lookup=prompt_lookup,
            max_waiting_callers=max_waiting_callers,
            use_generation_config=use_generation_config,
        )
        asked = DeviceConfig(device, precision_hint, num_threads, config or {})
        spec = read_spec(Path(model), asked, max_seq_len)
        self._set_up(
            spec,
            vocab=vocab,
            merges=merges,
            back_end=back_end,
            cache_budget=cache_budget,
            prompt_lookup=prompt_lookup,
            max_waiting_callers=max_waiting_callers,
            use_generation_config=use_generation_config,
        )

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        *,
        vocab: str | Path | None = None,
        merges: str | Path | None = None,
        back_end: Literal["paged", "stateful", "static"] | None = None,
        use_generation_config: bool = True,
    ) -> "TextGenerator":
        """Return the generator of a model that has been read, whose spec must not be used again. Raises Problem."""
        generator = cls.__new__(cls)
        generator._set_up(
            spec, vocab=vocab, merges=merges, back_end=back_end, use_generation_config=use_generation_config
        )
        return generator

    def _set_up(  # noqa: PLR0913  # those of __init__
        self,
        spec: ModelSpec,
        *,
        vocab: str | Path | None,
        merges: str | Path | None,
        back_end: Literal["paged", "stateful", "static"] | None,
        cache_budget: int | None = None,
        prompt_lookup: bool | None = None,
        max_waiting_callers: int = MAX_WAITING_CALLERS,
        use_generation_config: bool,
    ) -> None:
        # Before the model is compiled, which takes longer than everything else.
        self.default_sampling = _own_sampling(spec.ir.path) if use_generation_config else Sampling()
        self.tokenizer = load_tokenizer(spec.ir.path, vocab, merges, spec.ir.vocab_size)
        self.unused_ids = np.array(self.tokenizer.unused_ids(spec.ir.vocab_size), np.int64)
        self._asked, self._max_waiting_callers = spec.asked, max_waiting_callers
        self._back_end, self._cache_budget = back_end or default_back_end(spec.device), cache_budget
        engine = make_engine(spec, self._back_end, cache_budget)
        self._open: _Open | None = _Open.of(engine, max_waiting_callers)
        self._scoring: _Open | None = None
        self._scoring_lock = Lock()
        end_of_text = self.tokenizer.end_of_text_id
        self.eos_token_ids = engine.eos_token_ids or (() if end_of_text is None else (end_of_text,))
        self.bos_token_id = self.eos_token_id if engine.bos_token_id is None else engine.bos_token_id
        self.prompt_lookup = engine.back_end.name == "paged" if prompt_lookup is None else prompt_lookup

    @property
    def eos_token_id(self) -> int | None:
        """The first of eos_token_ids, which all end a text; None where nothing ends one."""
        return next(iter(self.eos_token_ids), None)

    @property
    def engine(self) -> Engine:
        """The engine; to step it, call `scheduler.step`. Raises Problem when the generator is closed."""
        return self._opened().engine

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler that runs all texts. Raises Problem when the generator is closed."""
        return self._opened().scheduler

    @property
    def input_processor(self) -> InputProcessor:
        """The way from a prompt to its token ids. Raises Problem when the generator is closed."""
        opened = self._opened()
        limits = Limits(
            opened.engine.n_positions,
            opened.engine.vocab_size,
            self.eos_token_ids,
            self.bos_token_id,
            self.unused_ids,
            self.prompt_lookup,
        )
        return InputProcessor(self.tokenizer, limits, opened.prefix_cache)

    def stream(
        self,
        prompt: str,
        sampling: Sampling | None = None,
        *,
        max_new_tokens: int = 40,
        rules: TextRules | None = None,
        index: tuple[int, int] = (0, 0),
        clock: Callable[[], float] = time.perf_counter,
    ) -> Stream:
        """Return the continuation of a prompt as an iterator over its text; it is computed as it is iterated.

        An empty prompt starts a new text. rules: where the text stops, see TextRules. index is (prompt, sample):
        with the same seed, another index draws another text, and generate's are those of the same index.
        The text goes on the same where it is cut after any token and that part becomes the prompt, unless the prompt
        was empty or a setting tells prompt and new text apart, such as presence_penalty.
        clock: seconds.
        Raises Problem for a prompt that is too long or not valid Unicode, and for a closed generator.
        """
        require_arguments(index=index, clock=clock)
        sampling, rules = self.default_sampling if sampling is None else sampling, _rules(rules)
        processed = self.input_processor.process(prompt, sampling, max_new_tokens, rules)
        text = StoppingDetokenizer(self.tokenizer, rules)
        return Stream(self.scheduler, processed, text, (_seed_of(sampling), *index), clock)

    def generate(
        self,
        prompts: Sequence[str],
        sampling: Sampling | None = None,
        *,
        max_new_tokens: int = 40,
        num_return_sequences: int = 1,
        rules: TextRules | None = None,
    ) -> list[Result]:
        """Return num_return_sequences continuations of each prompt, in the order of prompts, then samples.

        They run together. Which sample is drawn depends on its seed, prompt and index alone, except where logits are
        so close that the rounding of another batch changes their order: never seen with exact arithmetic.
        Raises Problem for a prompt that is too long or not valid Unicode, before any is begun, for model weights
        that are NaN, and for a generator that is closed, even meanwhile.
        """
        ended: SimpleQueue[GenerateRequest] = SimpleQueue()
        samples = self._samples(prompts, sampling, max_new_tokens, num_return_sequences, rules, ended.put)
        with running(self.scheduler, samples.requests):
            for _ in samples.requests:
                raise_error(ended.get())
        return samples.results()

    async def generate_async(
        self,
        prompts: Sequence[str],
        sampling: Sampling | None = None,
        *,
        max_new_tokens: int = 40,
        num_return_sequences: int = 1,
        rules: TextRules | None = None,
    ) -> list[Result]:
        """Do as generate, for asyncio; cancelling it cancels the texts."""
        ended, put = loop_queue()
        samples = self._samples(prompts, sampling, max_new_tokens, num_return_sequences, rules, put)
        with running(self.scheduler, samples.requests):
            for _ in samples.requests:
                raise_error(await ended.get())
        return samples.results()

    def beam_search(
        self,
        prompt: str,
        beams: Beams | None = None,
        *,
        max_new_tokens: int = 40,
        rules: TextRules | None = None,
    ) -> list[Result]:
        """Return the num_return_sequences most likely continuations that beam search finds, the best first.

        Nothing is drawn: the same call gives the same texts.
        Raises Problem as generate does, and for rules that slide: beams cannot.
        """
        beams, rules = Beams() if beams is None else beams, _rules(rules)
        if rules.context_overflow == "slide":
            raise Problem('context_overflow: beams cannot slide: expected "error" or "truncate"')
        inputs = self.input_processor
        inputs.check(beams, max_new_tokens, Beams)
        tokens, truncated = inputs.fitting_tokens(prompt, rules, max_new_tokens)
        ending_ids = beams.ending_ids(self.eos_token_ids)
        engine = self.engine
        steps = _Steps(self.scheduler.step, engine.n_positions)
        unused_ids = drawn_never(self.unused_ids, ending_ids)
        found = beam_search(steps, tokens, beams, max_new_tokens, ending_ids, self._stops(rules), unused_ids=unused_ids)
        return [
            Result(
                self._text(beam.tokens, rules),
                beam.finish_reason,
                beam.tokens,
                np.array(beam.logprobs),
                0,
                truncated,
                beam.score,
                dict(engine.properties),
            )
            for beam in found
        ]

    def score(self, text: str, *, add_start_token: bool = False) -> Score:
        """Return the log-probability of each token of a text, given those before it.

        add_start_token: score the first one too, given the token that starts a text (bos_token_id), unless the
        tokenizer begins texts with it anyway.
        Raises Problem for a text of more tokens than the model has positions, or that is not valid Unicode, and for a
        model without such a token. Where "auto" computes texts in bf16, the first call loads the model again, in f32.
        """
        require_arguments(add_start_token=add_start_token)
        tokens = self.input_processor.encode(text, self.engine.n_positions, ("the text has", ""))
        start = self.input_processor.start_token("add_start_token is given") if add_start_token else None
        before = [] if start is None or tokens[:1] == [start] else [start]
        read = [*before, *tokens][: self.engine.n_positions]
        logprobs = np.full(len(tokens), np.nan)

        def add(position: int, logits: Logits) -> None:
            scored = position + 1 - len(before)
            if scored < len(tokens):
                logprobs[scored] = logprob(checked(logits), tokens[scored])

        if len(before) + len(tokens) > 1:
            _read(self._opened_for_scores(), read, 0, add)
        return Score(tokens, logprobs, start if before else None)

    def next_tokens(self, text: str, k: int = 10) -> list[NextToken]:
        """Return the k most likely next tokens, the most likely first, with the model's own probabilities.

        Raises Problem as stream does, and for a k that is not from 1 to the size of the vocabulary.
        """
        require_count("k", k, least=1)
        vocab_size = self.engine.vocab_size - self.unused_ids.size
        if k > vocab_size:
            raise Problem(f"k: expected at most {vocab_size}, the size of the vocabulary, got {shown(k)}")
        tokens = self.input_processor.prompt_tokens(text)
        found: list[Logits] = []
        self.read(tokens, len(tokens) - 1, lambda _, logits: found.append(checked(logits)))
        logits = found[0]
        likely = logits.copy()
        likely[self.unused_ids] = -np.inf
        most = np.argpartition(-likely, k - 1)[:k]
        order = most[np.lexsort((most, -likely[most]))].tolist()
        return [NextToken(i, self.tokenizer.decode([i]), math.exp(logprob(logits, i))) for i in order]

    def prompt_tokens(self, prompt: str, special: bool = False) -> list[int]:
        """Return the ids of a prompt; see InputProcessor.prompt_tokens."""
        return self.input_processor.prompt_tokens(prompt, TextRules(parse_special=special))

    def read(self, tokens: list[int], first: int, on_logits: Callable[[int, Logits], None]) -> None:
        """Compute tokens that fit into the positions; on_logits gets each position from first on, and its logits.

        Raises Problem for a closed generator.
        """
        _read(self._opened(), tokens, first, on_logits)

    def close(self) -> None:
        """Free the model, and end what still runs with a Problem; the generator cannot be used afterwards."""
        opened, self._open = self._open, None
        scoring, self._scoring = self._scoring, None  # without the lock, which a forked process may never get
        for each in (opened, scoring):
            if each is not None:
                each.scheduler.close()

    def __enter__(self) -> "TextGenerator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> "_Open":
        if self._open is None:
            raise Problem(CLOSED)
        return self._open

    def _opened_for_scores(self) -> "_Open":
        """Return what computes scores: in f32, unless another precision was named; groups stay those of the texts."""
        opened = self._opened()
        asked, properties = self._asked, opened.engine.properties
        is_chosen = asked.precision_hint == "auto" and INFERENCE not in asked.properties
        if not is_chosen or properties.get(INFERENCE) != "bf16":
            return opened
        opened.scheduler.require_open()  # a forked process gets no further
        with self._scoring_lock:
            if (scoring := self._scoring) is None:
                groups = {name: value for name, value in properties.items() if name == GROUP}
                exact = replace(asked, precision_hint="f32", properties={**groups, **asked.properties})
                spec = read_spec(opened.engine.path, exact, opened.engine.n_positions)
                engine = make_engine(spec, self._back_end, self._cache_budget)
                scoring = self._scoring = _Open.of(engine, self._max_waiting_callers)
            if self._open is None:  # closed meanwhile
                scoring.scheduler.close()
                self._scoring = None
            self._opened()
            return scoring

    def _samples(
        self,
        prompts: Sequence[str],
        sampling: Sampling | None,
        max_new_tokens: int,
        num_samples: int,
        rules: TextRules | None,
        on_end: Callable[[GenerateRequest], None],
    ) -> "_Samples":
        sampling, rules = self.default_sampling if sampling is None else sampling, _rules(rules)
        SETTINGS["num_return_sequences"].check(num_samples)
        if isinstance(prompts, str) or not isinstance(prompts, Sequence):
            raise Problem(f"prompts: expected a list of texts, got {type(prompts).__name__}: {shown(prompts)}")
        if num_samples > 1 and len(prompts) * num_samples > MOST_TEXTS:
            asked = f"{num_samples} of each of {len(prompts)} prompts"
            raise Problem(f"num_return_sequences: expected at most {MOST_TEXTS} texts of one call, got {asked}")
        inputs = self.input_processor
        inputs.check(sampling, max_new_tokens)
        seed = _seed_of(sampling)
        found = []
        # A list, so that a prompt that cannot be used is found before any is begun.
        for p, processed in enumerate(
            [_process(inputs, n, prompt, sampling, max_new_tokens, rules) for n, prompt in enumerate(prompts, 1)]
        ):
            shared = Prompt(processed.tokens, num_samples)
            for s in range(num_samples):
                text = _SampleText(StoppingDetokenizer(self.tokenizer, rules))
                request = processed.request(shared, (seed, p, s), on_end, text.push, with_logprobs=True)
                found.append(_Sample(request, text, processed.truncated_chars))
        return _Samples(found, seed, self.engine.properties)

    def _stops(self, rules: TextRules) -> Callable[[Sequence[int]], bool]:
        """Return a function that says whether tokens end a text."""
        if not rules.stop and rules.stop_at is None:
            return lambda tokens: False

        def stops(tokens: Sequence[int]) -> bool:
            text = StoppingDetokenizer(self.tokenizer, rules)
            for token in tokens:
                text.push(token)
            return text.stopped

        return stops

    def _text(self, tokens: Sequence[int], rules: TextRules) -> str:
        text = StoppingDetokenizer(self.tokenizer, rules)
        return "".join(map(text.push, tokens)) + text.close()


class _Open(NamedTuple):
    engine: Engine
    scheduler: Scheduler
    prefix_cache: PrefixCache

    @classmethod
    def of(cls, engine: Engine, max_waiting_callers: int) -> "_Open":
        return cls(engine, Scheduler(engine, max_waiting_callers=max_waiting_callers), PrefixCache())


class _Steps(NamedTuple):
    step: Callable[[Sequence[StepInput]], list[Logits]]
    n_positions: int


class _SampleText:
    """The text of one sample, of generate."""

    def __init__(self, text: StoppingDetokenizer) -> None:
        self._text = text
        self._pieces: list[str] = []

    def push(self, token: int) -> bool:
        """Take a token; return whether the text ends with it."""
        self._pieces.append(self._text.push(token))
        return self._text.stopped

    def whole(self) -> str:
        """Return all of it, at its end."""
        return "".join(self._pieces) + self._text.close()


class _Sample(NamedTuple):
    request: GenerateRequest
    text: _SampleText
    truncated_chars: int


class _Samples(NamedTuple):
    """The samples of one call of generate, in the order of prompts, then samples.

    seed: of their draws. properties: of the device that they run on.
    """

    samples: list[_Sample]
    seed: int
    properties: Mapping[str, str]

    @property
    def requests(self) -> list[GenerateRequest]:
        return [sample.request for sample in self.samples]

    def results(self) -> list[Result]:
        """Return the results, when all requests have ended."""
        return [
            Result(
                text.whole(),
                str(request.finish_reason),
                request.tokens,
                np.array(request.logprobs),
                self.seed,
                cut,
                properties=dict(self.properties),
            )
            for request, text, cut in self.samples
        ]


def _read(opened: _Open, tokens: list[int], first: int, on_logits: Callable[[int, Logits], None]) -> None:
    ended: SimpleQueue[ScoreRequest] = SimpleQueue()
    request = ScoreRequest(tokens, first, opened.prefix_cache, on_logits, ended.put)
    with running(opened.scheduler, [request]):
        raise_error(ended.get())


def _own_sampling(model: Path) -> Sampling:
    """Return the sampling of the generation_config.json beside a model."""
    own, names = read_generation_config(model), {field.name for field in fields(Sampling)}
    return Sampling(**{name: value for name, value in own.items() if name in names})


def checked(logits: Logits) -> Logits:  # [V] -> [V]
    """Return logits that are finite, else raise Problem."""
    argmax(logits)
    return logits


def _rules(given: TextRules | None) -> TextRules:
    if given is None:
        return TextRules()
    require_type(TextRules, given)
    return given


def _seed_of(sampling: Sampling) -> int:
    return secrets.randbits(32) if sampling.seed is None else sampling.seed


def _process(
    inputs: InputProcessor, number: int, prompt: str, sampling: Sampling, max_new_tokens: int, rules: TextRules
) -> ProcessedPrompt:
    try:
        return inputs.process(prompt, sampling, max_new_tokens, rules)
    except Problem as problem:
        raise Problem(f"prompt {number}: {problem}") from None
