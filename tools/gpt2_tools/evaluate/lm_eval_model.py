"""The model class gpt2_openvino of lm-evaluation-harness, which runs IRs, and the harness's command line with it.

Log-likelihoods come from the scorer, generated texts from the demo's generator. Version 0.4.13 of the harness does not
look for model classes of other packages, so that run_harness registers ours; later ones read the entry points
lm_eval.models.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache, cached_property, partial
from itertools import groupby, takewhile
from threading import Event
from typing import Any

import numpy as np
import openvino as ov

from gpt2_text_prediction import Sampling, TextGenerator, TextRules
from gpt2_text_prediction.engine import PRECISION_HINTS, checksum, model_checksums, model_path, read_spec, user_cache
from gpt2_text_prediction.generation import read_generation_config
from gpt2_text_prediction.text import load_tokenizer, tokenizer_files
from gpt2_tools.common.problem import Problem, one_problem
from gpt2_tools.evaluate.model import end_token, required_token, start_token
from gpt2_tools.evaluate.scorer import Likelihood, likelihoods, load_scorer, scoring_config
from gpt2_tools.evaluate.texts import encode_pair
from omz_model_tools.common import ends_at_once, positive_int

NAME = "gpt2_openvino"
CLASS = "GPT2OpenVINO"
SAMPLING = {field.name for field in fields(Sampling)} - {"eos_token_id"}
"""Generation keywords of a task that are fields of Sampling, by the same names; `hf` shows the text of such a token."""
DEFAULTS: dict[str, Any] = {"top_k": 50, "top_p": 1.0}
"""transformers' own, where neither a task nor the model's generation_config.json has others."""

Request = tuple[Any, list[int], list[int]]
"""(key in the harness's cache or None, context, continuation), both in tokens."""


class Model:
    """The harness's interface of a model, without its base class, which GPT2OpenVINO adds.

    Arguments are those of --model_args; pretrained is the path or the name of a model.
    """

    def __init__(  # noqa: PLR0913  # the harness gives them by name
        self,
        *,
        pretrained: str | None = None,
        openvino_device: str = "CPU",
        device: str | None = None,  # PyTorch's, which the harness always passes
        batch_size: str | int = 1,
        max_batch_size: int | None = None,  # for batch_size "auto", which is not supported
        precision_hint: str | None = None,
        num_threads: str | int | None = None,
        max_gen_toks: str | int = 256,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            known = "pretrained, openvino_device, batch_size, precision_hint, num_threads, max_gen_toks"
            raise Problem(f"--model_args: there is no {min(unknown)!r}; known: {known}")
        if pretrained is None:
            raise Problem("--model_args: expected the path or the name of a model as pretrained=MODEL")
        if precision_hint not in (None, *PRECISION_HINTS):
            raise Problem(
                f"--model_args: precision_hint: expected one of {', '.join(PRECISION_HINTS)}, got {precision_hint!r}"
            )
        self._path = model_path(pretrained)
        threads = None if num_threads is None else _count("num_threads", num_threads)
        self.batch_size = _count("batch_size", batch_size)
        self.max_gen_toks = _count("max_gen_toks", max_gen_toks)
        self._config = scoring_config(openvino_device, precision_hint, threads)
        self._scorer = load_scorer(self._path, self._config)
        with one_problem():
            remedy = "put the model's own tokenizer.json, or vocab.json and merges.txt, beside it"
            self._tokenizer = load_tokenizer(self._path, vocab_size=self._scorer.vocab_size, remedy=remedy)
        self._start = start_token(self._scorer, self._tokenizer)
        self.max_length = self._scorer.n_positions

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return required_token(self._path, end_token(self._scorer, self._tokenizer))

    @property
    def prefix_token_id(self) -> int:
        """The context of a text without one."""
        return required_token(self._path, self._start)

    @property
    def tokenizer_name(self) -> str:
        """The harness's key of tokenized requests in its cache."""
        return str(self._path.absolute()).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return a text's tokens, in which <|endoftext|> is the special token, as it is for `hf`.

        add_special_tokens: whether with those that the tokenizer puts around a text; None: unless one starts it.
        """
        start = "" if self._start is None else self._tokenizer.decode([self._start])
        template = not (start and string.startswith(start)) if add_special_tokens is None else add_special_tokens
        return self._tokenizer.encode(string, special=True, template=template)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return the log-likelihood of continuations, given their contexts, and whether they are greedy."""
        pairs = []
        for number, request in enumerate(requests, 1):
            with _numbered(number):
                pairs.append((request.args, *self._encode_pair(*request.args)))
        return self._loglikelihood_tokens(pairs, disable_tqdm)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the tokens of both, at least one each: a text without context follows the token that starts a text."""
        before = context.rstrip()
        if not before:
            tokens = self.tok_encode(context + continuation, add_special_tokens=False)
            starts = tokens[:1] == [self.prefix_token_id] and len(tokens) > 1
            pair = (tokens[:1], tokens[1:]) if starts else ([self.prefix_token_id], tokens)
        else:
            alone = partial(self.tok_encode, add_special_tokens=False)
            pair = encode_pair(self.tok_encode, before, context[len(before) :] + continuation, alone)
        if not pair[1]:
            raise Problem(
                f"({context[-40:]!r}, {continuation!r}): expected a continuation of at least one token, got none"
            )
        return pair

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of whole texts, each token scored once, in the harness's own windows."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # noqa: PLC0415

        texts = [request.args[0] for request in requests]
        windows: list[list[Request]] = []
        for text in texts:
            rolling = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
            windows.append([(None, *make_disjoint_window(window)) for window in rolling])
        flat = [window for of_text in windows for window in of_text]
        found = iter(self._loglikelihood_tokens(flat, disable_tqdm))
        totals = [sum(next(found)[0] for _ in of_text) for of_text in windows]
        for text, total in zip(texts, totals, strict=True):
            self._keep("loglikelihood_rolling", (text,), total)
        return totals

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation and whether it is greedy; the longest run first."""
        for number, request in enumerate(requests, 1):
            if (count := len(request[2])) > self.max_length:
                got = f"a continuation has {count} tokens; at most {self.max_length} fit"
                raise Problem(f"{self._path}: request {number}: {got}")
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i][1]) - len(requests[i][2]))
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        with _bar("Running loglikelihood requests", len(requests), disable_tqdm) as bar:
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                for i, likelihood in zip(batch, self._likelihoods([requests[i] for i in batch]), strict=True):
                    found[i] = (
                        likelihood.logprob,
                        likelihood.is_greedy,
                    )  # a plain tuple: the harness pickles it into its cache
                    if requests[i][0] is not None:
                        self._keep("loglikelihood", requests[i][0], found[i])
                bar.update(len(batch))
        return found

    def _likelihoods(self, requests: Sequence[Request]) -> list[Likelihood]:
        rows = [(context + continuation)[-self.max_length - 1 :] for _, context, continuation in requests]
        return likelihoods(self._scorer.score, rows, [len(continuation) for _, _, continuation in requests])

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the continuations of texts, up to their first stop string; greedy unless a task samples.

        batch_size of them run at a time. A context that leaves no room for max_gen_toks is truncated on the left.
        """
        seed = int(np.random.randint(2**32))  # of the generator that the harness's --seed sets
        generator, ends = self._generator, Event()
        texts: list[str] = []
        with (
            _bar("Running generate_until requests", len(requests), disable_tqdm) as bar,
            ThreadPoolExecutor(self.batch_size) as pool,
            _set_by_errors(ends),
        ):
            for text in pool.map(partial(self._continuation, generator, seed, ends), requests, _indices(requests)):
                self._keep("generate_until", requests[len(texts)].args, text)
                texts.append(text)
                bar.update()
        return texts

    def _continuation(
        self, generator: TextGenerator, seed: int, ends: Event, request: Any, index: tuple[int, int]
    ) -> str:
        """Return one text, or its beginning when `ends` is set.

        index: the numbers of the request and of its repeat, whose draws differ.
        """
        context, given = request.args
        with _numbered(index[0] + 1):
            sampling, stop, most = self._settings(given)
            tokens = self.tok_encode(context)[most - self.max_length :]
            seeded = sampling if sampling.seed is not None else replace(sampling, seed=seed)
            rules = TextRules(stop=stop)
            stream = generator.stream(tokens, seeded, max_new_tokens=most, rules=rules, logprobs=None, index=index)
            with stream:
                return "".join(takewhile(lambda _: not ends.is_set(), stream))

    def _settings(self, given: Mapping[str, Any]) -> tuple[Sampling, list[str], int]:
        """Return how a task's keywords draw, the strings that stop a text, and its most tokens.

        They come before the model's own generation_config.json, and this before the defaults of transformers.
        """
        from lm_eval.models.utils import normalize_gen_kwargs  # noqa: PLC0415

        asked = {**self._own_settings, **normalize_gen_kwargs(dict(given), self.max_gen_toks)}
        most, stop, draws = asked.pop("max_gen_toks"), asked.pop("until"), asked.pop("do_sample")
        if (beams := asked.pop("num_beams", 1)) != 1:
            raise Problem(f"num_beams: expected 1, got {beams!r}: beam search is not supported here")
        if unknown := sorted(asked.keys() - SAMPLING):
            raise Problem(f"generation keyword {unknown[0]!r}: is not supported; use {', '.join(sorted(SAMPLING))}")
        if most >= self.max_length:
            raise Problem(f"max_gen_toks: expected fewer than the model's {self.max_length} positions, got {most}")
        sampling = Sampling(**{**DEFAULTS, **asked, "temperature": given.get("temperature", 0.0) if draws else 0.0})
        if draws and sampling.temperature == 0:
            raise Problem("do_sample: draws at a temperature above 0: give temperature too, such as 1.0")
        return sampling, [text for text in stop if text], most

    @cached_property
    def _own_settings(self) -> dict[str, Any]:
        """What the generation_config.json beside the model says of the keywords."""
        own = read_generation_config(self._path)
        return {name: value for name, value in own.items() if name in {*SAMPLING, "num_beams"}}

    @cached_property
    def _generator(self) -> TextGenerator:
        """Loaded when a task generates: the weights are in memory twice then."""
        return TextGenerator.of(read_spec(self._path, self._config))

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Take the harness's cache of responses (--use_cache), which knows them by their requests alone.

        Raises Problem for one whose responses are of another model, or do not say of which.
        """
        responses = cache_hook.dbdict
        if responses is not None:
            key = self._key()
            begun = responses.get(NAME, key if len(responses) == 0 else None)
            if begun is None:
                raise Problem("--use_cache: nothing says which model its responses are of: give another path")
            if differing := [part for part in key if begun.get(part) != key[part]]:
                parts = ", ".join(differing)
                raise Problem(f"--use_cache: its responses are of another run; different: {parts}: give another path")
            responses[NAME] = key
        vars(self)["cache_hook"] = cache_hook

    def _key(self) -> dict[str, Any]:
        """Return what responses depend on beside their requests."""
        return {
            **model_checksums(self._path, user_cache()),
            "tokenizer": [checksum(path) for path in tokenizer_files(self._path)],
            "positions": self.max_length,  # it may be that of the config.json beside the model
            "device": self._config.device,
            "precision": {name: value for name, value in self._scorer.settings().items() if name != "threads"},
            "max_gen_toks": self.max_gen_toks,
            "generation_config.json": self._own_settings,
            "OpenVINO": ov.get_version(),
        }

    def _keep(self, method: str, request: Any, result: Any) -> None:
        hook: Any = vars(self)["cache_hook"]  # set by the harness's base class
        hook.add_partial(method, request, result)


@cache
def _model_class() -> type:
    from lm_eval.api.model import TemplateLM  # noqa: PLC0415

    return type(CLASS, (Model, TemplateLM), {"__module__": __name__, "__doc__": Model.__doc__})


def __getattr__(name: str) -> Any:
    """Make the class when the harness imports it: its base class needs the harness."""
    if name == CLASS:
        return _model_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def run_harness(arguments: Sequence[str]) -> int:
    """Run lm-evaluation-harness with our model class registered. Raises Problem if it is not installed."""
    try:
        with ends_at_once():
            import lm_eval.models  # noqa: PLC0415, F401  # before ours: the registry fills itself only while empty
            from lm_eval.__main__ import cli_evaluate  # noqa: PLC0415
            from lm_eval.api.registry import model_registry  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"{error.name}: is not installed; run: pip install 'omz-gpt2[lm-eval]'") from None
    if NAME not in model_registry:
        model_registry.register(NAME, target=f"{__name__}:{CLASS}")
    kept, sys.argv = sys.argv, ["gpt2_evaluate lm-eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = kept
    return 0


@contextmanager
def _set_by_errors(event: Event) -> Iterator[None]:
    """Set an event when the block ends by an exception, such as Ctrl-C's."""
    try:
        yield
    except BaseException:
        event.set()
        raise


@contextmanager
def _numbered(number: int) -> Iterator[None]:
    """Name a request in what is wrong with it."""
    try:
        with one_problem():
            yield
    except Problem as problem:
        raise Problem(f"request {number}: {problem}") from None


def _indices(requests: Sequence[Any]) -> list[tuple[int, int]]:
    """Return the number of each request and that of its repeat; the harness gives repeats one after another."""
    groups = groupby(requests, key=id)
    return [(number, repeat) for number, (_, group) in enumerate(groups) for repeat, _ in enumerate(group)]


def _bar(title: str, total: int, silent: bool) -> Any:
    from tqdm import tqdm  # noqa: PLC0415

    return tqdm(total=total, desc=title, disable=silent or not sys.stderr.isatty())


def _count(name: str, value: str | int) -> int:
    try:
        return positive_int(str(value))
    except argparse.ArgumentTypeError as reason:
        raise Problem(f"--model_args: {name}: {reason}") from None
