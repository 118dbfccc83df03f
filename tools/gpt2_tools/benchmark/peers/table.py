"""Engines in turns on the same prompts: their speeds, our speed relative to theirs, and what did not run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from gpt2_tools.benchmark.figures import Figure, checksum
from gpt2_tools.common.json_process import Answer, CannotRun, PeerFailed
from gpt2_tools.common.runtime import arithmetic_words

Ask = Callable[[Mapping[str, object]], Answer]
Prompts = list[list[int]]


@dataclass(frozen=True)
class Workload:
    """A number of prompts of prompt_tokens each, continued by new_tokens each."""

    name: str
    prompts: int
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True)
class TableEngine:
    """An engine: its name, how it is asked to generate, and the one of ours it is compared with (None: it is ours)."""

    name: str
    ask: Ask
    against: str | None = None


EngineRun = tuple[float, float | None, Prompts]
"""(seconds in all, seconds to the first token if known, new tokens of each prompt)."""


def in_turns(
    engines: Sequence[TableEngine],
    workload: Workload,
    repetitions: Iterable[Prompts],
    warmup: int,
    not_run: dict[str, str],
) -> dict[str, list[EngineRun]]:
    """Return each engine's runs, one for each repetition after the warm-up.

    Engines take turns in each repetition, so all see the same machine load. An engine that fails is dropped; the
    reason goes to not_run, under the engine's name alone if it cannot run other workloads either.
    """
    runs: dict[str, list[EngineRun]] = {engine.name: [] for engine in engines}
    for prompts in repetitions:
        for engine in engines:
            if engine.name not in runs:
                continue
            try:
                answer = engine.ask({"prompts": prompts, "new_tokens": workload.new_tokens})
                runs[engine.name].append(checked(answer, workload))
            except PeerFailed as reason:
                del runs[engine.name]
                label = f"{workload.name}, {engine.name}" if isinstance(reason, CannotRun) else engine.name
                not_run[label] = str(reason)
    return {name: kept[warmup:] for name, kept in runs.items()}


def checked(answer: Answer, workload: Workload) -> EngineRun:
    """Return an answer as a run. Raises PeerFailed if it is not one, or has another number of tokens."""
    seconds, first, tokens = (answer.get(name) for name in ("seconds", "first", "tokens"))
    if not (_positive(seconds) and (first is None or _positive(first)) and isinstance(tokens, list)):
        raise PeerFailed(f"expected seconds and tokens, got {str(answer)[:80]}")
    run: EngineRun = seconds, first, tokens
    if workload.new_tokens > 1 and first is not None and first >= seconds:
        raise PeerFailed(f"expected seconds and tokens, got {str(answer)[:80]}")
    lengths = [len(row) if isinstance(row, list) else 0 for row in tokens]
    if lengths != [workload.new_tokens] * workload.prompts:
        raise PeerFailed(
            f"generated {lengths} tokens, expected {workload.new_tokens} for each of {workload.prompts} prompts"
        )
    return run


def _positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def labelled(name: str, arithmetic: Any) -> str:
    """Return an engine's name with the precisions that it reports: "ours INT8 [f32, cache f16, groups of 32]"."""
    words = arithmetic_words(arithmetic) if isinstance(arithmetic, Mapping) else ""
    return f"{name} [{words}]" if words else name


def speeds(workload: Workload, runs: Mapping[str, list[EngineRun]]) -> dict[str, Figure]:
    """Return the tokens/s of each engine that has runs, see speed."""
    figures = {}
    for name, kept in runs.items():
        if kept:
            figures[f"{workload.name}, {name}"] = Figure("tokens/s", tuple(speed(workload, run) for run in kept))
    return figures


def speed(workload: Workload, run: EngineRun) -> float:
    """Return the tokens/s of one run.

    Prefill: prompt tokens in the whole time. One prompt: new tokens after the first. Several prompts, or an engine
    that does not report its first token: all new tokens in the whole time.
    """
    seconds, first, _ = run
    if workload.new_tokens == 1:
        return workload.prompts * workload.prompt_tokens / seconds
    if workload.prompts > 1 or first is None:
        return workload.prompts * workload.new_tokens / seconds
    return (workload.new_tokens - 1) / (seconds - first)


def token_times(workload: Workload, runs: Mapping[str, list[EngineRun]]) -> dict[str, Figure]:
    """Return the time per token after the first of each engine that reports when that came."""
    context = f"{workload.prompt_tokens} .. {workload.prompt_tokens + workload.new_tokens}"
    figures = {}
    for name, kept in runs.items():
        if kept and all(first is not None for _, first, _ in kept):
            values = tuple(1e3 / speed(workload, run) for run in kept)
            figures[f"time per token at a context of {context}, {name}"] = Figure("ms", values)
    return figures


def first_tokens(workload: Workload, runs: Mapping[str, list[EngineRun]]) -> dict[str, Figure]:
    """Return the time to the first token of each engine that reports it."""
    times = {name: tuple(first * 1e3 for _, first, _ in kept if first is not None) for name, kept in runs.items()}
    return {
        f"first token after {workload.prompt_tokens}, {name}": Figure("ms", values)
        for name, values in times.items()
        if values
    }


def ratios(
    workload: Workload, engines: Sequence[TableEngine], runs: Mapping[str, list[EngineRun]]
) -> dict[str, Figure]:
    """Return our speed divided by each other engine's, repetition by repetition."""
    figures = {}
    for engine in engines:
        ours, theirs = runs.get(engine.against or "", []), runs.get(engine.name, [])
        if ours and theirs:
            values = [speed(workload, mine) / speed(workload, its) for mine, its in zip(ours, theirs, strict=True)]
            figures[f"{workload.name}, {engine.against} / {engine.name}"] = Figure("x", tuple(values))
    return figures


def same_tokens(engines: Sequence[TableEngine], runs: Mapping[str, list[EngineRun]]) -> dict[str, Figure]:
    """Return the number of tokens before the first that differs from ours: a check that the weights are the same."""
    figures = {}
    for engine in engines:
        ours, theirs = runs.get(engine.against or "", []), runs.get(engine.name, [])
        if ours and theirs:
            pairs = [(mine[0], its[0]) for (_, _, mine), (_, _, its) in zip(ours, theirs, strict=True)]
            figures[f"tokens as {engine.against}, {engine.name}"] = Figure(
                "tokens", tuple(common(*pair) for pair in pairs)
            )
    return figures


def checksums(runs: Mapping[str, list[EngineRun]]) -> dict[str, str]:
    """Return a checksum of all tokens that each engine generated, equal if they generated the same."""
    return {
        name: checksum(token for _, _, rows in kept for row in rows for token in row)
        for name, kept in runs.items()
        if kept
    }


def common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Return the length of the common prefix."""
    pairs = zip(ours, theirs, strict=True)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(ours))
