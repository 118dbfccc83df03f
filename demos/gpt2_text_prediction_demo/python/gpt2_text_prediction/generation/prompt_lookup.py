"""Drafts of what may come next: what stood behind the same few tokens before. It knows no model and no logits.

How long a draft is, and whether there is one, is learnt from how many tokens of the last ones were right.
"""

from collections.abc import Iterable

RUNS = (4, 3, 2)
"""How many of the last tokens are looked for, the longest run first; the shortest not behind a draft all wrong:
two common words stand together again and again in any prose."""
SHORTEST, LONGEST = 2, 15
"""Of a draft: the first one, and any."""
FIRST_PAUSE, LONGEST_PAUSE = 1, 64
"""Tokens until the next draft after one of which none was right: the first such in a row is by chance."""


class PromptLookup:
    """One row's text so far, where each short run of it was seen last, and how well drafts have gone."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}  # of a run: the place of the token behind its last occurrence
        self._length = SHORTEST
        self._pause = 0  # tokens without a draft from now on
        self._next_pause = FIRST_PAUSE
        self._missed = False  # whether no token of the last draft was right
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Take in the next token of the text."""
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
                period = self._tokens[place:]  # where the draft is longer, the text is taken to go round
                return [period[i % len(period)] for i in range(min(most, self._length))]
        return []

    def learn(self, drafted: int, accepted: int) -> None:
        """Say how many tokens of the last draft were right; call it before those tokens are pushed."""
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
