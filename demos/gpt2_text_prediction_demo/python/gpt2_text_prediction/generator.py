"""Text in, its continuation out: tokenizer, engine and sampling put together. It prints nothing.

from gpt2_text_prediction import Sampling, TextGenerator
"""

import math
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np

from gpt2_text_prediction.engine.engine import Engine, default_back_end, load_engine
from gpt2_text_prediction.engine.ir import check_files
from gpt2_text_prediction.engine.scheduler import CLOSED, Scheduler
from gpt2_text_prediction.engine.sequence import Logits, Row
from gpt2_text_prediction.engine.waiting import loop_queue, raise_error, running
from gpt2_text_prediction.generation.beam_search import Beams, beam_search
from gpt2_text_prediction.generation.logits_processors import likeliest, require_count, require_known, require_lengths
from gpt2_text_prediction.generation.request import Generation, Plan, Prompt, Reading, Recent, logprob
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem, readable
from gpt2_text_prediction.results import NextToken, Result, Score
from gpt2_text_prediction.samples import Sample, Samples, Text
from gpt2_text_prediction.stream import Stream
from gpt2_text_prediction.text.stopping import StoppableText, TextRules
from gpt2_text_prediction.text.tokenizer import END_OF_TEXT, GPT2Tokenizer


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
    """A loaded model with its tokenizer; to be used from any number of threads, whose texts share its steps.

    stream continues a prompt, generate several; score and next_tokens tell probabilities.
    """

    def __init__(  # noqa: PLR0913  # each is a choice of the user's, by name
        self,
        model: str | Path,
        *,
        vocab: str | Path | None = None,
        merges: str | Path | None = None,
        device: str = "CPU",
        config: dict[str, Any] | None = None,
        max_seq_len: int | None = None,
        back_end: Literal["paged", "stateful", "static"] | None = None,
        cache_budget: int | None = None,
        prompt_lookup: bool | None = None,
    ) -> None:
        """Load a model and the vocabulary, which lies beside it unless it is given.

        config: properties of the device, by default those of `configuration`.
        max_seq_len: how many tokens prompt and continuation may have, by default the model's positions.
        back_end, cache_budget: see load_engine; by default "paged" on a CPU and "stateful" elsewhere.
        prompt_lookup: whether tokens are guessed from what stood in the text before; the text stays the same. By
        default where the cache is paged: elsewhere a guess that was wrong costs too much.
        Raises Problem for files or settings that cannot be used.
        """
        model = Path(model)
        check_files(model)
        self.tokenizer = GPT2Tokenizer(*find_tokenizer_files(model, vocab, merges))
        settings = configuration(device) if config is None else config
        chosen = back_end or default_back_end(device)
        engine = load_engine(model, device, settings, max_seq_len, chosen, cache_budget)
        check_fit(model, engine.vocab_size, self.tokenizer)
        self._open: _Open | None = _Open(engine, Scheduler(engine))
        self.eos_token_id = self.tokenizer.end_of_text_id if engine.eos_token_id is None else engine.eos_token_id
        self.prompt_lookup = engine.back_end.name == "paged" if prompt_lookup is None else prompt_lookup
        self._recent = Recent()

    @property
    def engine(self) -> Engine:
        """The engine; who steps it calls `scheduler.step`. Raises Problem when the generator is closed."""
        return self._opened().engine

    @property
    def scheduler(self) -> Scheduler:
        """What runs all texts. Raises Problem when the generator is closed."""
        return self._opened().scheduler

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
        """Return the continuation of a prompt as an iterator over its text, which is begun when it is asked for.

        An empty prompt starts a new text. rules: where the text stops, see TextRules. index is (prompt, sample):
        with the same seed, other places in a run draw other texts, and generate's are those of the same place.
        clock: seconds.
        Raises Problem for a prompt that is too long or not valid Unicode, and for a closed generator.
        """
        return Stream(self, prompt, sampling or Sampling(), max_new_tokens, rules or TextRules(), index, clock)

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

        They run together. Which sample is drawn depends on its seed, prompt and place alone, but for logits so near
        to each other that the rounding of another batch changes their order: never seen with exact arithmetic.
        Raises Problem for a prompt that is too long or not valid Unicode, before any is begun, for model weights
        that are no numbers, and for a generator that is closed, even meanwhile.
        """
        ended: SimpleQueue[Generation] = SimpleQueue()
        samples = self._samples(prompts, sampling, max_new_tokens, num_return_sequences, rules, ended.put)
        with running(self.scheduler, samples.generations):
            for _ in samples.generations:
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
        """Do as generate, for asyncio; cancelling it ends the texts."""
        ended, put = loop_queue()
        samples = self._samples(prompts, sampling, max_new_tokens, num_return_sequences, rules, put)
        with running(self.scheduler, samples.generations):
            for _ in samples.generations:
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
        """Return the num_return_sequences likeliest continuations of a prompt that beams find, the best first.

        Nothing is drawn: the same call gives the same texts.
        Raises Problem as generate does, and for rules that slide: beams cannot.
        """
        beams, rules = beams or Beams(), rules or TextRules()
        if rules.context_overflow == "slide":
            raise Problem('context_overflow: beams cannot slide: expected "error" or "truncate"')
        require_lengths(beams, max_new_tokens)
        require_known(beams, self.engine.vocab_size)
        tokens, cut = self.fitting_tokens(prompt, rules, max_new_tokens)
        steps = _Steps(self.scheduler.step, self.engine.n_positions)
        found = beam_search(steps, tokens, beams, max_new_tokens, self.eos_token_id, self._stops(rules))
        return [
            Result(
                self._text(one.tokens, rules), one.finish_reason, one.tokens, np.array(one.logprobs), 0, cut, one.score
            )
            for one in found
        ]

    def score(self, text: str) -> Score:
        """Return how likely each token of a text is, given those before it.

        Raises Problem for a text of more tokens than the model has positions, or that is not valid Unicode.
        """
        tokens = self._tokens(text, self.engine.n_positions, "the text has", "")
        logprobs = np.full(len(tokens), np.nan)

        def use(place: int, logits: Logits) -> None:
            if place + 1 < len(tokens):
                logprobs[place + 1] = logprob(checked(logits), tokens[place + 1])

        if len(tokens) > 1:
            self.read(tokens, 0, use)
        return Score(tokens, logprobs)

    def next_tokens(self, text: str, k: int = 10) -> list[NextToken]:
        """Return the k likeliest next tokens, the likeliest first, with the model's own probabilities.

        Raises Problem as stream does, and for a k that is not from 1 to the size of the vocabulary.
        """
        require_count("k", k, least=1)
        if k > self.engine.vocab_size:
            raise Problem(f"k: expected at most {self.engine.vocab_size}, the size of the vocabulary, got {k}")
        tokens = self.prompt_tokens(text)
        found: list[Logits] = []
        self.read(tokens, len(tokens) - 1, lambda _, logits: found.append(checked(logits)))
        logits = found[0]
        most = np.argpartition(-logits, k - 1)[:k]
        order = most[np.lexsort((most, -logits[most]))].tolist()
        return [NextToken(i, self.tokenizer.decode([i]), math.exp(logprob(logits, i))) for i in order]

    def prompt_tokens(self, prompt: str, special: bool = False) -> list[int]:
        """Return the ids of a prompt that leaves room for a token behind it, else raise Problem.

        special: whether <|endoftext|> in it is the token of that name.
        """
        tokens = self._tokens(prompt, self.engine.n_positions - 1, "the prompt has", ", with room for one new", special)
        if tokens:
            return tokens
        if self.eos_token_id is None:
            raise Problem(f"the prompt is empty, and the vocabulary has no {END_OF_TEXT} to start a text with")
        return [self.eos_token_id]

    def fitting_tokens(self, prompt: str, rules: TextRules, max_new_tokens: int) -> tuple[list[int], int]:
        """Return the ids of a prompt as far as they fit, and how many characters were cut from its beginning.

        Where the rules let it be cut, max_new_tokens fit behind it too, or as many as half of the positions.
        Raises Problem as prompt_tokens does.
        """
        n_positions = self.engine.n_positions
        fits = max(n_positions - max_new_tokens, n_positions // 2)
        most = max(fits * self.tokenizer.longest_token, 1 << 17)  # see _tokens
        if rules.context_overflow == "error":
            return self.prompt_tokens(prompt, rules.parse_special), 0
        tokens = self.tokenizer.encode(prompt[-most:], rules.parse_special)
        if len(tokens) <= fits and len(prompt) <= most:
            return self.prompt_tokens(prompt, rules.parse_special), 0
        kept = tokens[-fits:]
        return kept, len(prompt) - len(self.tokenizer.decode(kept))

    def plan(
        self, sampling: Sampling, seed: Sequence[int], most: int, with_logprobs: bool, slide: bool = False
    ) -> Plan:
        """Return how a sample is drawn."""
        eos_token_id = None if sampling.ignore_eos else self.eos_token_id
        slide_at = self.engine.n_positions if slide else None
        return Plan(sampling, seed, most, eos_token_id, self.prompt_lookup, with_logprobs, slide_at)

    def generation(
        self,
        prompt: Prompt,
        plan: Plan,
        on_end: Callable[[Generation], None],
        on_token: Callable[[int], bool | None] = lambda token: None,
    ) -> Generation:
        """Return a sample for the scheduler to run."""
        return Generation(prompt, plan, self._recent, on_end, on_token)

    def close(self) -> None:
        """Let go of the model, and end what still runs with a Problem; the generator cannot be used afterwards."""
        if self._open is not None:
            self._open.scheduler.close()
        self._open = None
        self._recent = Recent()

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

    def _samples(
        self,
        prompts: Sequence[str],
        sampling: Sampling | None,
        max_new_tokens: int,
        samples: int,
        rules: TextRules | None,
        on_end: Callable[[Generation], None],
    ) -> Samples:
        sampling, rules, n_positions = sampling or Sampling(), rules or TextRules(), self.engine.n_positions
        require_count("num_return_sequences", samples, least=1)
        require_lengths(sampling, max_new_tokens)
        require_known(sampling, self.engine.vocab_size)
        if isinstance(prompts, str):
            raise Problem("prompts: expected a list of texts, got one text")
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        slide = rules.context_overflow == "slide"
        found = []
        for p, (tokens, cut) in enumerate(
            [self._named_tokens(n, prompt, rules, max_new_tokens) for n, prompt in enumerate(prompts, 1)]
        ):
            prompt = Prompt(tokens, samples)
            most = max_new_tokens if slide else min(max_new_tokens, n_positions - len(tokens))
            for s in range(samples):
                plan = self.plan(sampling, (seed, p, s), most, True, slide)
                text = Text(StoppableText(self.tokenizer, rules))
                found.append(Sample(self.generation(prompt, plan, on_end, text.push), text, cut))
        return Samples(found, seed)

    def _named_tokens(self, number: int, prompt: str, rules: TextRules, max_new_tokens: int) -> tuple[list[int], int]:
        try:
            return self.fitting_tokens(prompt, rules, max_new_tokens)
        except Problem as problem:
            raise Problem(f"prompt {number}: {problem}") from None

    def _stops(self, rules: TextRules) -> Callable[[Sequence[int]], bool]:
        """Return what tells whether tokens end a text."""
        if not rules.stop and rules.stop_at is None:
            return lambda tokens: False

        def stops(tokens: Sequence[int]) -> bool:
            text = StoppableText(self.tokenizer, rules)
            for token in tokens:
                text.push(token)
            return text.stopped

        return stops

    def _text(self, tokens: Sequence[int], rules: TextRules) -> str:
        text = StoppableText(self.tokenizer, rules)
        return "".join(map(text.push, tokens)) + text.close()

    def _tokens(self, text: str, fits: int, it_has: str, why: str, special: bool = False) -> list[int]:
        size = len(text.encode(errors="replace"))
        if size > max(fits * self.tokenizer.longest_token, 1 << 17):  # BPE would take minutes to count its tokens
            raise Problem(f"{it_has} {size} bytes; at most {fits} tokens fit{why}: shorten it")
        tokens = self.tokenizer.encode(text, special)
        if len(tokens) > fits:
            raise Problem(f"{it_has} {len(tokens)} tokens; at most {fits} fit{why}: shorten it")
        return tokens

    def read(self, tokens: list[int], first: int, use: Callable[[int, Logits], None]) -> None:
        """Compute tokens that fit into the positions; use gets each place from first on and the logits behind it."""
        ended: SimpleQueue[Reading] = SimpleQueue()
        with running(self.scheduler, [Reading(tokens, first, self._recent, use, ended.put)]):
            raise_error(ended.get())


class _Open(NamedTuple):
    engine: Engine
    scheduler: Scheduler


class _Steps(NamedTuple):
    step: Callable[[Sequence[Row]], list[Logits]]
    n_positions: int


def checked(logits: Logits) -> Logits:  # [V] -> [V]
    """Return logits that are numbers, else raise Problem."""
    likeliest(logits)
    return logits


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


def check_fit(path: Path, vocab_size: int, tokenizer: GPT2Tokenizer) -> None:
    """Raise Problem unless a model has as many tokens as the tokenizer."""
    if vocab_size != tokenizer.vocab_size:
        raise Problem(
            f"{path}: has {vocab_size} tokens, its tokenizer {tokenizer.vocab_size}; "
            "give the model's own files with --vocab and --merges"
        )
