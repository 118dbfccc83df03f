"""Generators side by side, in turns on the same prompts: speeds, ratios to ours, and who could not be run.

Who they are and how they are run is not known here: each is asked by {"prompts", "new_tokens"}.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from gpt2_tools.benchmark.figures import Figure, checksum
from gpt2_tools.common.json_process import Answer, CannotRun, PeerFailed

Ask = Callable[[Mapping[str, object]], Answer]
Prompts = list[list[int]]


@dataclass(frozen=True)
class Workload:
    """Prompts of so many tokens each, continued by so many."""

    name: str
    prompts: int
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True)
class Contestant:
    """A generator: what it is called, how it is asked, and which of ours it is compared with (None: it is ours)."""

    name: str
    ask: Ask
    against: str | None = None


Run = tuple[float, float | None, Prompts]


def in_turns(
    contestants: Sequence[Contestant],
    workload: Workload,
    rounds: Iterable[Prompts],
    warmup: int,
    not_run: dict[str, str],
) -> dict[str, list[Run]]:
    """Return each contestant's runs, one for each round behind the warm-up.

    All run a round's prompts before the next round, so that they see the same machine. Who fails is left out from
    there on, with its reason in not_run: under its name alone, where it is not to be asked again.
    """
    runs: dict[str, list[Run]] = {one.name: [] for one in contestants}
    for prompts in rounds:
        for one in contestants:
            if one.name not in runs:
                continue
            try:
                answer = one.ask({"prompts": prompts, "new_tokens": workload.new_tokens})
                runs[one.name].append(checked(answer, workload))
            except PeerFailed as reason:
                del runs[one.name]
                label = f"{workload.name}, {one.name}" if isinstance(reason, CannotRun) else one.name
                not_run[label] = str(reason)
    return {name: kept[warmup:] for name, kept in runs.items()}


def checked(answer: Answer, workload: Workload) -> Run:
    """Return an answer that is one, else raise PeerFailed."""
    seconds, first, tokens = (answer.get(name) for name in ("seconds", "first", "tokens"))
    if not (_positive(seconds) and (first is None or _positive(first)) and isinstance(tokens, list)):
        raise PeerFailed(f"answered without seconds and tokens: {str(answer)[:80]}")
    run: Run = seconds, first, tokens
    if workload.new_tokens > 1 and first is not None and first >= seconds:
        raise PeerFailed(f"answered without seconds and tokens: {str(answer)[:80]}")
    made = [len(row) if isinstance(row, list) else 0 for row in tokens]
    if made != [workload.new_tokens] * workload.prompts:
        raise PeerFailed(f"made {made} tokens, expected {workload.new_tokens} for each of {workload.prompts} prompts")
    return run


def _positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def speeds(workload: Workload, runs: Mapping[str, list[Run]]) -> dict[str, Figure]:
    """Return tokens/s of each contestant that has runs.

    Of one prompt: of the tokens behind the first one, and of the prompt until the first; of a prompt alone that; of
    several: of all new tokens in the whole time.
    """
    figures = {}
    for name, kept in runs.items():
        if kept:
            figures[f"{workload.name}, {name}"] = Figure("tokens/s", tuple(speed(workload, run) for run in kept))
    return figures


def speed(workload: Workload, run: Run) -> float:
    """Return tokens/s of one run."""
    seconds, first, _ = run
    if workload.new_tokens == 1:
        return workload.prompts * workload.prompt_tokens / seconds
    if workload.prompts > 1 or first is None:
        return workload.prompts * workload.new_tokens / seconds
    return (workload.new_tokens - 1) / (seconds - first)


def first_tokens(workload: Workload, runs: Mapping[str, list[Run]]) -> dict[str, Figure]:
    """Return the time to the first token of each contestant that tells it."""
    times = {name: tuple(first * 1e3 for _, first, _ in kept if first is not None) for name, kept in runs.items()}
    return {
        f"first token after {workload.prompt_tokens}, {name}": Figure("ms", values)
        for name, values in times.items()
        if values
    }


def ratios(workload: Workload, contestants: Sequence[Contestant], runs: Mapping[str, list[Run]]) -> dict[str, Figure]:
    """Return how many times as fast as each contestant ours is, of the runs of each round."""
    figures = {}
    for one in contestants:
        ours, theirs = runs.get(one.against or "", []), runs.get(one.name, [])
        if ours and theirs:
            values = [speed(workload, mine) / speed(workload, its) for mine, its in zip(ours, theirs, strict=True)]
            figures[f"{workload.name}, {one.against} / {one.name}"] = Figure("x", tuple(values))
    return figures


def same_tokens(contestants: Sequence[Contestant], runs: Mapping[str, list[Run]]) -> dict[str, Figure]:
    """Return how many tokens a contestant writes as ours does before the first other one: the same weights?"""
    figures = {}
    for one in contestants:
        ours, theirs = runs.get(one.against or "", []), runs.get(one.name, [])
        if ours and theirs:
            pairs = [(mine[0], its[0]) for (_, _, mine), (_, _, its) in zip(ours, theirs, strict=True)]
            figures[f"tokens as {one.against}, {one.name}"] = Figure("tokens", tuple(common(*pair) for pair in pairs))
    return figures


def checksums(runs: Mapping[str, list[Run]]) -> dict[str, str]:
    """Return a checksum of all tokens that each contestant wrote, equal where they wrote the same."""
    return {
        name: checksum(token for _, _, rows in kept for row in rows for token in row)
        for name, kept in runs.items()
        if kept
    }


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike."""
    pairs = zip(one, other, strict=True)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), len(one))
