"""Prompt lookup decoding: draft tokens are those that followed the last few tokens earlier in the text.

How long a draft is, and whether there is one, is adapted to how many tokens of the last drafts were accepted.
"""

from collections.abc import Iterable

RUNS = (4, 3, 2)
"""Numbers of last tokens to look up, the longest first; not the shortest after a draft that was all wrong: any prose
repeats pairs of common words."""
SHORTEST, LONGEST = 2, 15
"""Tokens of the first draft, and of any."""
FIRST_PAUSE, LONGEST_PAUSE = 1, 64
"""Tokens without a draft after one that was all wrong: few after the first such draft, which may be chance."""


class PromptLookup:
    """A sequence so far, where each short run of its tokens occurred last, and how drafts have fared."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}  # of a run: the index of the token after its last occurrence
        self._length = SHORTEST
        self._pause = 0  # tokens without a draft from now on
        self._next_pause = FIRST_PAUSE
        self._missed = False  # whether no token of the last draft was right
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Add the next token of the text."""
        place = len(self._tokens)
        for run in RUNS:
            if place >= run:
                self._followers[tuple(self._tokens[place - run :])] = place
        self._tokens.append(token)
        self._pause = max(0, self._pause - 1)

    def draft(self, most: int) -> list[int]:
        """Return at most `most` tokens that may come next, possibly none."""
        if self._pause or most < 1:
            return []
        for run in RUNS[: -1 if self._missed else None]:
            place = self._followers.get(tuple(self._tokens[-run:]))
            if place is not None:
                period = self._tokens[place:]  # a longer draft repeats it: the text may be periodic
                return [period[i % len(period)] for i in range(min(most, self._length))]
        return []

    def learn(self, drafted: int, accepted: int) -> None:
        """Record how many tokens of the last draft were accepted; call it before those tokens are pushed."""
        if accepted == drafted:
            self._length = min(max(self._length, 2 * drafted), LONGEST)
        else:
            self._length = max(SHORTEST, accepted + 1)
        self._missed = not accepted
        if accepted:
            self._next_pause = FIRST_PAUSE
        else:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, LONGEST_PAUSE)
