"""LAMBADA: how well a model knows a passage's last word. Two definitions of it, which do not compare.

lm-evaluation-harness (task lambada_openai): the passage is cut at its last space; the word is right where each of its
tokens is the likeliest, and perplexity is exp of the mean negative log-likelihood of a word, all its tokens summed.
OpenAI (GPT-2's paper, table 3): the passage is stripped, straight quotation marks replace curly ones and a line feed
comes before it (openai/gpt-2, issue 131); what counts is its last token alone, though a word may have several
(lm-evaluation-harness, issues 350 and 356). OpenAI's code is not published: this is what the issues tell of it.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.perplexity import Score, exp
from gpt2_tools.evaluate.texts import Dataset

Encode = Callable[[str], list[int]]
"""A tokenizer's."""

LAMBADA = Dataset(
    "lambada",
    PurePosixPath("lambada_test.jsonl"),
    "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
)


class Passage(NamedTuple):
    """The tokens of a passage, and how many of the last ones are to be predicted."""

    tokens: list[int]
    wanted: int


class Answer(NamedTuple):
    """log p of what was to be predicted, and whether each of its tokens is the likeliest."""

    logprob: float
    right: bool


class Measure(NamedTuple):
    """Accuracy and perplexity of many answers with their standard errors."""

    accuracy: float
    accuracy_stderr: float | None
    perplexity: float
    perplexity_stderr: float | None


def read_passages(path: Path, text: str) -> list[str]:
    """Return the passages of a file's text: a JSON object a line, with the passage under "text"; empty lines are none.

    Raises Problem for a line that is something else, and where there is none.
    """
    lines = enumerate(text.split("\n"), 1)
    passages = [_passage(f"{path}: line {i}", line) for i, line in lines if line.strip()]
    if not passages:
        raise Problem(f'{path}: expected lines such as {{"text": "a passage"}}, got none')
    return passages


def _passage(place: str, line: str) -> str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Problem(f"{place}: is not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise Problem(f'{place}: expected an object with a text under "text"')
    text: str = found["text"]
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Problem(f"{place}: expected Unicode characters, got a lone surrogate")
    before, _, word = text.rpartition(" ")
    if not before.strip() or not word.strip():
        raise Problem(f"{place}: expected a passage that ends with a word behind a space, got {text[-40:]!r}")
    return text


def harness_passage(text: str, encode: Encode, most: int) -> Passage:
    """Return a passage as lm-evaluation-harness cuts it, its last `most` tokens."""
    context = text.rpartition(" ")[0].rstrip()  # the harness gives the word all spaces before it
    tokens = encode(text)
    return Passage(tokens[-most:], min(len(tokens) - len(encode(context)), most - 1))


def openai_passage(text: str, encode: Encode, most: int) -> Passage:
    """Return a passage as OpenAI prepared it, its last `most` tokens."""
    return Passage(encode("\n" + text.replace("“", '"').replace("”", '"').strip())[-most:], 1)


def answers(score: Score, passages: Sequence[Passage], batch: int) -> Iterator[Answer]:
    """Yield the answers in the order of passages, of which `batch` run at once; padding them changes nothing."""
    for start in range(0, len(passages), batch):
        some = passages[start : start + batch]
        tokens = np.zeros((len(some), max(len(passage.tokens) for passage in some)), np.int64)  # [B, L]
        for row, passage in zip(tokens, some, strict=True):
            row[: len(passage.tokens)] = passage.tokens
        scores = score(tokens)
        for i, (ids, wanted) in enumerate(some):
            at = slice(len(ids) - 1 - wanted, len(ids) - 1)
            yield Answer(float(scores.logprobs[i, at].sum(dtype=np.float64)), bool(scores.top[i, at].all()))


def measure(found: Sequence[Answer]) -> Measure:
    """Return the measure of at least one answer; a standard error of a single one is None.

    A standard error is that of the mean, perplexity's carried through exp.
    """
    right = np.array([answer.right for answer in found], np.float64)
    losses = -np.array([answer.logprob for answer in found])
    perplexity, error = exp(float(losses.mean())), _stderr(losses)
    return Measure(float(right.mean()), _stderr(right), perplexity, None if error is None else perplexity * error)


def _stderr(values: npt.NDArray[Any]) -> float | None:  # [N] -> of the mean
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
