"""Text in, its continuation out: tokenizer, engine and sampling put together.

from gpt2_text_prediction import TextGenerator
"""

import math
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from gpt2_text_prediction.answers import Answers, Call, Reading
from gpt2_text_prediction.argument_types import require_arguments, require_type
from gpt2_text_prediction.engine.configuration import GROUP, INFERENCE, DeviceConfig
from gpt2_text_prediction.engine.engine import Engine, ModelSpec, read_spec
from gpt2_text_prediction.engine.model_file import model_path
from gpt2_text_prediction.engine.scheduler import (
    CLOSED,
    MAX_WAITING_CALLERS,
    PREFILL_CHUNK,
    Scheduler,
    loop_queue,
    raise_error,
    running,
)
from gpt2_text_prediction.engine.sequence import Logits
from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.generation.logits_processors import require_count
from gpt2_text_prediction.generation.logprobs import checked, likeliest, logprob
from gpt2_text_prediction.generation.request import GenerateRequest, Prompt, RequestParams
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.generation_config import read_generation_config
from gpt2_text_prediction.input_processor import InputProcessor, Limits, ProcessedPrompt, TextOrIds
from gpt2_text_prediction.loading import Loading, Opened
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.results import NextToken, Progress, Result, Score, Stats
from gpt2_text_prediction.settings import MOST_TEXTS, is_whole
from gpt2_text_prediction.settings_by_name import BEAMS_ONLY, Settings, SettingsByName, settings_beside
from gpt2_text_prediction.stream import Stream
from gpt2_text_prediction.text.stopping import TextRules
from gpt2_text_prediction.text.tokenizer import load_tokenizer

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

Prompts: TypeAlias = TextOrIds | Sequence[TextOrIds]
"""One prompt or several, each a text or token ids."""
How: TypeAlias = Sampling | Beams
INTERNAL = ("input_processor", "of", "prompt_tokens", "read", "scheduler", "unused_ids")
"""Attributes of a TextGenerator for the tools of this project, which completion does not show."""


class TextGenerator:
    r"""A loaded model with its tokenizer. Any number of threads may use it; their texts share the engine's steps.

    stream continues one prompt, generate several; score and next_tokens return probabilities. default_sampling: that
    of the generation_config.json beside the model, else Sampling().

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     for result in gpt2.generate(["The poem was", "Once"], max_new_tokens=20, top_k=20, stop="\n"):
    ...         assert result.finish_reason in ("stop", "length")
    """

    def __init__(  # noqa: PLR0913  # each is a choice of the user's, by name
        self,
        model: str | Path,
        *,
        precision: str | None = None,
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
        max_num_seqs: int | None = None,
        max_waiting_callers: int = MAX_WAITING_CALLERS,
        prefill_chunk: int = PREFILL_CHUNK,
        use_generation_config: bool = True,
    ) -> None:
        """Load a model and its tokenizer, which is looked for beside it unless vocab and merges are given.

        model: a name below ./public, such as "gpt-2"; a folder of omz_converter's; or an .xml.
        precision: of the weights, for a name or a folder: "FP16" by default, "FP32", "FP16-INT8", ...
        precision_hint: the arithmetic. "auto" chooses what is fast on this CPU for several texts at once, and exact
        enough; "device" is what OpenVINO chooses. num_threads: by default the device's choice.
        config: properties of the device, by OpenVINO's names, which add to these two and go before them.
        max_seq_len: how many positions are used, by default all of the model. Prompt and continuation may have one
        token more, as the last is not computed.
        back_end, cache_budget: see load_engine; by default "paged" on a CPU and "stateful" elsewhere.
        prompt_lookup: whether tokens are drafted from what the text had before; the text stays the same. By default
        where the cache is paged: elsewhere a wrong draft costs too much.
        max_num_seqs: how many texts run at once, by default 64 in a paged cache and 16 elsewhere; fewer where the
        cache has no room. A beam counts as a text.
        max_waiting_callers: how many calls may wait for their turn; one more raises Busy, a Problem.
        prefill_chunk: how many tokens of prompts a step computes at most.
        use_generation_config: whether the generation_config.json beside the model has the default settings.
        Raises Problem for files or settings that cannot be used.
        """
        require_arguments(
            model=model,
            precision=precision,
            device=device,
            precision_hint=precision_hint,
            num_threads=num_threads,
            config=config,
            max_seq_len=max_seq_len,
        )
        loading = Loading(
            vocab,
            merges,
            back_end,
            cache_budget,
            prompt_lookup,
            max_num_seqs,
            max_waiting_callers,
            prefill_chunk,
            use_generation_config,
        )
        asked = DeviceConfig(device, precision_hint, num_threads, config or {})
        self._set_up(read_spec(model_path(model, precision), asked, max_seq_len), loading)

    @classmethod
    def of(cls, spec: ModelSpec, loading: Loading | None = None) -> "TextGenerator":
        """Return the generator of a model that has been read, whose spec must not be used again. Raises Problem."""
        generator = cls.__new__(cls)
        generator._set_up(spec, loading or Loading())
        return generator

    def _set_up(self, spec: ModelSpec, loading: Loading) -> None:
        # Before the model is compiled, which takes longer than everything else.
        self._defaults = read_generation_config(spec.ir.path) if loading.use_generation_config else {}
        names = {field.name for field in fields(Sampling)}
        self.default_sampling = Sampling(**{name: self._defaults[name] for name in names & self._defaults.keys()})
        self.tokenizer = load_tokenizer(spec.ir.path, loading.vocab, loading.merges, spec.ir.vocab_size)
        self.unused_ids = np.array(self.tokenizer.unused_ids(spec.ir.vocab_size), np.int64)
        self._asked, self._loading = spec.asked, loading
        self._open: Opened | None = loading.open(spec)
        self._scoring: Opened | None = None
        self._scoring_lock = Lock()
        engine, end_of_text = self._open.engine, self.tokenizer.end_of_text_id
        self.eos_token_ids = engine.eos_token_ids or (() if end_of_text is None else (end_of_text,))
        self.bos_token_id = self.eos_token_id if engine.bos_token_id is None else engine.bos_token_id
        is_paged = engine.back_end.name == "paged"
        self.prompt_lookup = is_paged if loading.prompt_lookup is None else loading.prompt_lookup

    def __dir__(self) -> Iterable[str]:
        """Return the names that completion shows."""
        return [name for name in super().__dir__() if name not in INTERNAL and (name[:1] != "_" or name[:2] == "__")]

    @property
    def eos_token_id(self) -> int | None:
        """The first of eos_token_ids, which all end a text; None where nothing ends one."""
        return next(iter(self.eos_token_ids), None)

    @property
    def engine(self) -> Engine:
        """The engine, which the scheduler's thread steps. Raises Problem when the generator is closed."""
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
        return InputProcessor(self.tokenizer, limits, opened.shared)

    def stream(  # noqa: PLR0913  # each is a choice of the user's, by name
        self,
        prompt: TextOrIds,
        sampling: Sampling | None = None,
        *,
        rules: TextRules | None = None,
        logprobs: int | None = 0,
        prompt_logprobs: int | None = None,
        max_time: float | None = None,
        index: tuple[int, int] = (0, 0),
        clock: Callable[[], float] = time.perf_counter,
        **settings: "Unpack[SettingsByName]",
    ) -> Stream:
        """Return the continuation of a prompt as an iterator over its text; it is computed as it is iterated.

        Arguments are those of generate, but that nothing is searched by beams. index is (prompt, sample): with the same
        seed, another index draws another text, and generate's are those of the same index.
        The text goes on the same where it is cut after any token and that part becomes the prompt, unless the prompt
        was empty or a setting tells prompt and new text apart, such as presence_penalty. clock: seconds.
        Raises Problem for a prompt that is too long or not valid Unicode, and for a closed generator.
        """
        require_arguments(index=index)
        defaults = {name: value for name, value in self._defaults.items() if name not in ("num_beams", *BEAMS_ONLY)}
        own = self._settings(sampling, rules, settings, defaults)
        if isinstance(own.how, Beams):
            raise Problem("num_beams: beams have no text before their end: call generate")
        if own.num_return_sequences != 1:
            raise Problem(f"num_return_sequences: a stream is one text, got {own.num_return_sequences}: give index")
        call = self._call(logprobs, prompt_logprobs, max_time, clock)
        processed = self.input_processor.process(prompt, own.how, own.max_new_tokens, own.rules)
        return Stream(self.scheduler, call, processed, index)

    def generate(  # noqa: PLR0913  # each is a choice of the user's, by name
        self,
        prompts: Prompts,
        sampling: How | Sequence[How] | None = None,
        *,
        rules: TextRules | None = None,
        logprobs: int | None = 0,
        prompt_logprobs: int | None = None,
        max_time: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **settings: "Unpack[SettingsByName]",
    ) -> list[Result]:
        r"""Return the continuations of each prompt, in the order of prompts, then samples.

        prompts: a text, the token ids of one, or a list of them; an empty one starts a new text.
        settings: by name, such as temperature=0.8, num_return_sequences=3, num_beams=4, stop="\n": of Sampling, Beams
        and TextRules. Those that are not given are the model's own, of its generation_config.json.
        sampling, rules: such objects, in place of the names; sampling may be a list, one a prompt.
        max_new_tokens: 40 by default; 0 for prompt_logprobs alone.
        logprobs: how many of the likeliest tokens are told beside each new one; None for no log-probabilities, which
        saves their time. prompt_logprobs: as many for each token of the prompt; by default none.
        max_time: seconds from now, after which a text ends with what there is ("time").
        on_progress: called in this thread after each token and each finished text. What it raises, like Ctrl-C, ends
        the others; finished texts were handed over.
        The texts run together. Which sample is drawn depends on its seed, prompt and index alone, except where logits
        are so close that the rounding of another batch changes their order: never seen with exact arithmetic.
        Raises Problem for a prompt that is too long or not valid Unicode, before any is begun, for model weights
        that are NaN, and for a generator that is closed, even meanwhile.
        """
        events: SimpleQueue[Any] = SimpleQueue()
        call = self._call(logprobs, prompt_logprobs, max_time).begun()
        answers = self._answers(call, prompts, sampling, rules, settings, on_progress=on_progress, put=events.put)
        with running(self.scheduler, answers.requests):
            while answers.left:
                answers.take(events.get())
        return answers.results()

    async def generate_async(  # noqa: PLR0913  # those of generate
        self,
        prompts: Prompts,
        sampling: How | Sequence[How] | None = None,
        *,
        rules: TextRules | None = None,
        logprobs: int | None = 0,
        prompt_logprobs: int | None = None,
        max_time: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **settings: "Unpack[SettingsByName]",
    ) -> list[Result]:
        """Do as generate, for asyncio; cancelling it cancels the texts."""
        events, put = loop_queue()
        call = self._call(logprobs, prompt_logprobs, max_time).begun()
        answers = self._answers(call, prompts, sampling, rules, settings, on_progress=on_progress, put=put)
        with running(self.scheduler, answers.requests):
            while answers.left:
                answers.take(await events.get())
        return answers.results()

    def beam_search(
        self,
        prompt: TextOrIds,
        beams: Beams | None = None,
        *,
        max_new_tokens: int = 40,
        rules: TextRules | None = None,
    ) -> list[Result]:
        """Return the num_return_sequences most likely continuations that beam search finds, the best first.

        As generate(prompt, Beams(...)). Nothing is drawn: the same call gives the same texts.
        Raises Problem as generate does, and for rules that slide: beams cannot.
        """
        beams = Beams() if beams is None else beams
        require_type(Beams, beams)
        return self.generate(prompt, beams, max_new_tokens=max_new_tokens, rules=rules)

    def score(self, text: TextOrIds, *, add_start_token: bool = False) -> Score:
        """Return the log-probability of each token of a text, given those before it.

        add_start_token: score the first one too, given the token that starts a text (bos_token_id), unless the
        tokenizer begins texts with it anyway.
        Raises Problem for a text of more tokens than the model has positions and one, or that is not valid Unicode,
        and for a model without such a token. Where "auto" computes texts in bf16, the first call loads the model
        again, in f32.
        """
        require_arguments(add_start_token=add_start_token)
        inputs, n_positions = self.input_processor, self.engine.n_positions
        tokens = inputs.encode(text, n_positions + 1, "the text has")
        start = inputs.start_token("add_start_token is given") if add_start_token else None
        before = [] if start is None or tokens[:1] == [start] else [start]
        if len(before) + len(tokens) > n_positions + 1:
            raise Problem(
                f"the text has {len(tokens)} tokens; after a start token at most {n_positions} fit: shorten it"
            )
        logprobs = np.full(len(tokens), np.nan)

        def add(position: int, logits: Logits) -> None:
            scored = position + 1 - len(before)
            logprobs[scored] = logprob(checked(logits), tokens[scored])

        if len(before) + len(tokens) > 1:
            _read(self._opened_for_scores(), [*before, *tokens][:-1], 0, add)
        return Score(tokens, logprobs, start if before else None)

    def next_tokens(self, text: TextOrIds, k: int = 10) -> list[NextToken]:
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
        (logits,) = found
        likely = likeliest(logits, k, self.unused_ids)
        return [NextToken(i, self.tokenizer.decode([i]), math.exp(logprob(logits, i))) for i in likely]

    def stats(self) -> Stats:
        """Return what runs and waits, and what has been computed so far. Raises Problem when it is closed."""
        opened = self._opened()
        counts, cache = opened.shared.counts, opened.engine.usage()
        return Stats(
            *opened.scheduler.counts(),
            cache.used_blocks,
            cache.blocks,
            counts.prompt,
            counts.new,
            counts.prefix_hits + cache.prefix_hits,
            cache.recomputed_tokens,
            counts.drafted,
            counts.accepted,
        )

    def prompt_tokens(self, prompt: TextOrIds, special: bool = False) -> list[int]:
        """Return the ids of a prompt; see InputProcessor.prompt_tokens."""
        return self.input_processor.prompt_tokens(prompt, TextRules(parse_special=special))

    def read(self, tokens: list[int], first: int, on_logits: Callable[[int, Logits], None]) -> None:
        """Compute tokens that fit into the positions; on_logits gets each position from first on, and its logits.

        Raises Problem for a closed generator.
        """
        _read(self._opened(), tokens, first, on_logits)

    def close(self, timeout: float = 0.0) -> None:
        """Free the model; the generator cannot be used afterwards.

        timeout: seconds that calls that have begun may go on, while new ones are refused; then what still runs ends
        with a Problem.
        """
        require_arguments(timeout=timeout)
        opened, self._open = self._open, None
        scoring, self._scoring = self._scoring, None  # without the lock, which a forked process may never get
        for each in (opened, scoring):
            if each is not None:
                each.scheduler.close(timeout)

    def __enter__(self) -> "TextGenerator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Opened:
        if self._open is None:
            raise Problem(CLOSED)
        return self._open

    def _opened_for_scores(self) -> Opened:
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
                scoring = self._scoring = self._loading.open(spec)
            if self._open is None:  # closed meanwhile
                scoring.scheduler.close()
                self._scoring = None
            self._opened()
            return scoring

    def _settings(
        self, how: Any, rules: TextRules | None, settings: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> Settings:
        """Return the settings of a prompt; raise Problem for what are none."""
        if not isinstance(how, Sampling | Beams | None):
            raise Problem(f"sampling: expected a Sampling or Beams, got {type(how).__name__}: {shown(how)}")
        if not isinstance(rules, TextRules | None):
            raise Problem(f"rules: expected a TextRules, got {type(rules).__name__}: {shown(rules)}")
        return settings_beside(how, rules, settings, self.tokenizer.encode, defaults)

    def _call(
        self,
        logprobs: int | None,
        prompt_logprobs: int | None,
        max_time: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Call:
        require_arguments(logprobs=logprobs, prompt_logprobs=prompt_logprobs, max_time=max_time, clock=clock)
        properties = self.engine.properties
        return Call(logprobs, prompt_logprobs, max_time, properties, secrets.randbits(32), clock)

    def _answers(  # noqa: PLR0913  # those of generate
        self,
        call: Call,
        prompts: Prompts,
        sampling: How | Sequence[How] | None,
        rules: TextRules | None,
        settings: Mapping[str, Any],
        *,
        on_progress: Callable[[Progress], None] | None,
        put: Callable[[Any], None],
    ) -> Answers:
        require_arguments(on_progress=on_progress)
        listed, names = _listed(prompts)
        each = list(sampling) if isinstance(sampling, list | tuple) else [sampling] * len(listed)
        if len(each) != len(listed):
            raise Problem(f"sampling: expected one for each of {len(listed)} prompts, got {len(each)}")
        # The same objects give the same settings, which are checked once.
        made = {
            id(how): self._settings(how, rules, settings, self._defaults)
            for how in {id(how): how for how in each}.values()
        }
        own = [made[id(how)] for how in each]
        if (texts := sum(one.num_return_sequences for one in own)) > max(MOST_TEXTS, len(listed)):
            raise Problem(f"num_return_sequences: expected at most {MOST_TEXTS} texts of one call, got {texts}")
        inputs = self.input_processor
        # A list, so that a prompt that cannot be used is found before any is begun.
        processed = [_process(inputs, *three) for three in zip(names, listed, own, strict=True)]
        readings = [
            Reading(call, number, prompt, one.num_return_sequences)
            for number, (prompt, one) in enumerate(zip(processed, own, strict=True))
        ]
        return Answers(readings, on_progress, put)


def _read(opened: Opened, tokens: list[int], first: int, on_logits: Callable[[int, Logits], None]) -> None:
    ended: SimpleQueue[GenerateRequest] = SimpleQueue()
    prompt = Prompt(tokens, wanted=range(first, len(tokens)), on_logits=on_logits)
    params = RequestParams(Sampling(), (0, 0, 0), 0)
    request = GenerateRequest(prompt, params, opened.shared.prefix_cache, ended.put, counts=opened.shared.counts)
    with running(opened.scheduler, [request]):
        raise_error(ended.get())


def _listed(prompts: Any) -> tuple[list[TextOrIds], list[str]]:
    """Return prompts as a list, with how each is named in what is wrong with it: not at all, where it is alone."""
    if isinstance(prompts, np.ndarray):
        prompts = prompts.tolist()
    if isinstance(prompts, str):
        return [prompts], [""]
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes | bytearray | memoryview):
        expected = "a text, token ids, or a list of them"
        raise Problem(f"prompts: expected {expected}, got {type(prompts).__name__}: {shown(prompts)}")
    if any(is_whole(each) for each in prompts):  # the ids of one prompt, or what is wrong with them
        return [prompts], [""]
    return list(prompts), [f"prompt {n}: " for n in range(1, len(prompts) + 1)]


def _process(inputs: InputProcessor, name: str, prompt: TextOrIds, settings: Settings) -> ProcessedPrompt:
    try:
        return inputs.process(prompt, settings.how, settings.max_new_tokens, settings.rules)
    except Problem as problem:
        raise Problem(f"{name}{problem}") from None
