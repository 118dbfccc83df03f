"""A table of the tokens that each one was drawn from; the model is run once more, nothing is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gpt2_text_prediction.generation.logits_processors import History, drawn_never
from gpt2_text_prediction.generation.sampling import Sampling, probabilities

if TYPE_CHECKING:
    from gpt2_text_prediction.engine.sequence import Logits
    from gpt2_text_prediction.generator import TextGenerator

HEADING = ("step", "token", "model", "drawn", "most likely, as drawn")


def explain(
    generator: "TextGenerator", prompt: Sequence[int], tokens: Sequence[int], sampling: Sampling, count: int
) -> list[str]:
    """Return the lines of a table: for each step its token, the model's own probability of it and that after all
    settings, and the `count` most likely tokens after all settings. No lines for a text past the model's positions.
    """
    if not tokens or len(prompt) + len(tokens) - 1 > generator.engine.n_positions:
        return []
    ending_ids = sampling.ending_ids(generator.eos_token_ids)
    unused_ids = drawn_never(generator.unused_ids, ending_ids)
    rows = [HEADING]

    def add_row(position: int, logits: "Logits") -> None:
        step = position + 1 - len(prompt)
        own = probabilities(logits, Sampling(top_p=1))
        drawn = probabilities(logits, sampling, History(prompt, tokens[:step], ending_ids, unused_ids))
        best = [token for token in np.argsort(-drawn, kind="stable")[:count].tolist() if drawn[token] > 0]
        candidates = "  ".join(f"{_quoted(generator, token)} {drawn[token]:.1%}" for token in best)
        token = tokens[step]
        rows.append((str(step + 1), _quoted(generator, token), f"{own[token]:.1%}", f"{drawn[token]:.1%}", candidates))

    generator.read([*prompt, *tokens[:-1]], len(prompt) - 1, add_row)
    return _aligned(rows)


def _quoted(generator: "TextGenerator", token: int) -> str:
    return repr(generator.tokenizer.decode([token]))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    step, token, model, drawn, _ = widths
    return [
        f"{row[0]:>{step}}  {row[1]:<{token}}  {row[2]:>{model}}  {row[3]:>{drawn}}  {row[4]}".rstrip() for row in rows
    ]
