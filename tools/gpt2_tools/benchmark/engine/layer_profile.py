"""Where the time of a step goes: the layers of the compiled model by type, as OpenVINO counts them.

The counting itself takes time, so that these are shares rather than speeds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import openvino as ov

from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.engine.inference_hook import Infer, inference_replaced
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem

COUNTED = {"PERF_COUNT": "YES"}
"""The property with which a model is to be compiled."""
LEAST = 1.0
"""Per cent of a step below which a type is one of the others."""
OTHERS = "others"


class Counted(NamedTuple):
    """What the layers of a graph took in one call on average of all calls so far: that is what OpenVINO tells."""

    milliseconds: dict[str, float]  # by type
    kernels: dict[str, str]  # by type


def profile_figures(
    load: Callable[[], EngineBenchmark], prompt_tokens: int, new_tokens: int, repeats: Repeats
) -> dict[str, Figure]:
    """Return what the layers take of a prompt and of a token behind it, and their shares.

    load: compiles the model with COUNTED, anew for each round. Raises Problem where the device counts nothing.
    """

    def once() -> list[Counted]:
        with counted_calls() as calls:
            load().generate(prompt_tokens, new_tokens)
        if not calls[-1].milliseconds:
            raise Problem("--profile: the device does not tell what its layers take")
        return calls

    rounds = repeats.of(once)
    prompts, tokens = zip(*(split(calls, new_tokens) for calls in rounds), strict=True)
    kernels = rounds[-1][-1].kernels
    return _figures(f"first token after {prompt_tokens}", prompts, kernels) | _figures("a token", tokens, kernels)


@contextmanager
def counted_calls() -> Iterator[list[Counted]]:
    """Collect what is known after every inference call of this process."""
    calls: list[Counted] = []

    def counted(infer: Infer) -> Infer:
        def call(request: Any, *args: Any, **options: Any) -> Any:
            outputs = infer(request, *args, **options)
            calls.append(_by_type(request.profiling_info))
            return outputs

        return call

    with inference_replaced(counted):
        yield calls


def split(calls: Sequence[Counted], new_tokens: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the milliseconds of the prompt's call and of a token's behind it, undoing the averages.

    The last new_tokens calls are the prompt's and those of all tokens but the last; what was called before is a
    trial of the engine's.
    """
    sums = [{kind: (i + 1) * taken for kind, taken in call.milliseconds.items()} for i, call in enumerate(calls)]
    last, prompt, before = sums[-1], sums[-new_tokens], dict[str, float]()
    if len(sums) > new_tokens:
        before = sums[-new_tokens - 1]
    first = {kind: taken - before.get(kind, 0.0) for kind, taken in prompt.items()}
    later = {kind: (taken - prompt.get(kind, 0.0)) / (new_tokens - 1) for kind, taken in last.items()}
    return first, later


def _by_type(layers: Sequence[Any]) -> Counted:
    milliseconds: dict[str, float] = defaultdict(float)
    kernels: dict[str, set[str]] = defaultdict(set)
    for layer in layers:
        if layer.status == ov.ProfilingInfo.Status.EXECUTED:
            milliseconds[layer.node_type] += layer.real_time.total_seconds() * 1e3
            kernels[layer.node_type].add(layer.exec_type)
    return Counted(dict(milliseconds), {kind: ", ".join(sorted(names)) for kind, names in kernels.items()})


def _figures(name: str, rounds: Sequence[dict[str, float]], kernels: dict[str, str]) -> dict[str, Figure]:
    """Return the figures of one kind of step, the most expensive layers first and the cheap ones together."""
    sums = {kind: sum(step.get(kind, 0.0) for step in rounds) for step in rounds for kind in step}
    dear = [kind for kind, taken in sums.items() if 100 * taken >= LEAST * sum(sums.values())]
    figures: dict[str, Figure] = {}
    for kind in [*sorted(dear, key=sums.__getitem__, reverse=True), OTHERS]:
        taken = [
            step.get(kind, 0.0) if kind in dear else sum(ms for one, ms in step.items() if one not in dear)
            for step in rounds
        ]
        shares = [100 * one / sum(step.values()) for one, step in zip(taken, rounds, strict=True)]
        shown = f"{name}, {kind} ({kernels[kind]})" if kind in dear else f"{name}, {kind}"
        figures |= {shown: Figure("ms", tuple(taken)), f"{shown}, share": Figure("%", tuple(shares))}
    return figures
