"""The windows in which a long text is scored, by protocol.

Perplexities can only be compared with the same windows: they decide the context in which each token is scored.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Tokens start .. end-1 run together; those from `scored` on are scored, each given all before it in the window."""

    start: int
    end: int
    scored: int

    def count(self) -> int:
        """Return the number of scored tokens."""
        return self.end - self.scored


def omz_windows(tokens: int, context: int) -> list[Window]:
    """Return Open Model Zoo's: disjoint whole windows; the rest of the text is dropped, first tokens are not scored."""
    return [Window(start, start + context, start + 1) for start in range(0, tokens - context + 1, context)]


def strided_windows(tokens: int, context: int, stride: int) -> list[Window]:
    """Return Hugging Face's windows: each starts `stride` tokens after the one before.

    It scores only tokens that no earlier window has scored. The last one ends with the text. stride = context
    gives omz_windows and the incomplete last window.
    """
    windows, reached = [], 0
    for start in range(0, tokens, stride):
        end = min(start + context, tokens)
        windows.append(Window(start, end, max(start + 1, reached)))
        reached = end
        if end == tokens:
            break
    return [
        window for window in windows if window.count() > 0
    ]  # the last window may be a single token, without context
