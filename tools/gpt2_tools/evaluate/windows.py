"""The windows in which a long text is scored, by protocol; it knows neither tokens nor model.

A perplexity means nothing without these: they say what each token is scored behind.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The tokens start .. end-1 are read together; those from `scored` on count, each behind all before it."""

    start: int
    end: int
    scored: int

    def count(self) -> int:
        """Return how many tokens are scored."""
        return self.end - self.scored


def omz_windows(tokens: int, context: int) -> list[Window]:
    """Return Open Model Zoo's: disjoint and whole ones; what remains is dropped, and no first token is scored."""
    return [Window(start, start + context, start + 1) for start in range(0, tokens - context + 1, context)]


def strided_windows(tokens: int, context: int, stride: int) -> list[Window]:
    """Return Hugging Face's: each begins `stride` behind the one before and scores what that did not reach.

    The last one ends with the text. With a stride of the context they are Open Model Zoo's, the rest kept.
    """
    windows, reached = [], 0
    for start in range(0, tokens, stride):
        end = min(start + context, tokens)
        windows.append(Window(start, end, max(start + 1, reached)))
        reached = end
        if end == tokens:
            break
    return [window for window in windows if window.count() > 0]  # the rest may be a token with none before it
