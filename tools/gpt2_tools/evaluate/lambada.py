"""LAMBADA: accuracy and perplexity of a passage's last word. Two definitions, whose figures cannot be compared.

lm-evaluation-harness (task lambada_openai): the passage is split at its last space; the word is right if greedy
decoding gives all its tokens, and perplexity is exp of the mean negative log-likelihood of a word, its tokens summed.
OpenAI (GPT-2's paper, table 3): the passage is stripped, straight quotation marks replace curly ones and a line feed
precedes it (openai/gpt-2, issue 131); only the last token counts, though a word may have several
(lm-evaluation-harness, issues 350 and 356). OpenAI's code is not published: this follows those issues.
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.perplexity import exp
from gpt2_tools.evaluate.scorer import Likelihood, Score, likelihoods
from gpt2_tools.evaluate.texts import Encode, encode_pair


class Passage(NamedTuple):
    """The tokens of a passage, the last `targets` of which are to be predicted."""

    tokens: list[int]
    targets: int


class Metrics(NamedTuple):
    """Accuracy and perplexity with their standard errors, which a single passage does not have."""

    accuracy: float
    accuracy_stderr: float | None
    perplexity: float
    perplexity_stderr: float | None


def read_passages(path: Path, text: str) -> list[str]:
    """Return the passages of a JSONL file's text, each under "text"; empty lines are skipped.

    Raises Problem for any other line, and if there is no passage.
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
        raise Problem(f'{place}: expected an object with a string under "text"')
    text: str = found["text"]
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Problem(f"{place}: expected Unicode characters, got a lone surrogate")
    before, _, word = text.rpartition(" ")
    if not before.strip() or not word.strip():
        raise Problem(f"{place}: expected a passage that ends with a space and a word, got {text[-40:]!r}")
    return text


def harness_passage(text: str, encode: Encode, max_tokens: int) -> Passage:
    """Return a passage as lm-evaluation-harness splits it, truncated to its last max_tokens tokens."""
    context = text.rpartition(" ")[0].rstrip()  # the harness counts all spaces before the word as the word's
    before, word = encode_pair(encode, context, text[len(context) :])
    return Passage([*before, *word][-max_tokens:], min(len(word), max_tokens - 1))


def openai_passage(text: str, encode: Encode, max_tokens: int) -> Passage:
    """Return a passage as OpenAI prepared it, truncated to its last max_tokens tokens."""
    return Passage(encode("\n" + text.replace("“", '"').replace("”", '"').strip())[-max_tokens:], 1)


def passage_likelihoods(score: Score, passages: Sequence[Passage], batch: int) -> Iterator[Likelihood]:
    """Yield the likelihood of each passage's target, running `batch` passages per call."""
    for start in range(0, len(passages), batch):
        rows, counts = zip(*passages[start : start + batch], strict=True)
        yield from likelihoods(score, rows, counts)


def metrics(targets: Sequence[Likelihood]) -> Metrics:
    """Return accuracy and perplexity over at least one target; perplexity's standard error is carried through exp."""
    right = np.array([target.is_greedy for target in targets], np.float64)
    losses = -np.array([target.logprob for target in targets])
    perplexity, error = exp(float(losses.mean())), _stderr(losses)
    return Metrics(float(right.mean()), _stderr(right), perplexity, None if error is None else perplexity * error)


def _stderr(values: npt.NDArray[Any]) -> float | None:  # [N] -> of the mean
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
