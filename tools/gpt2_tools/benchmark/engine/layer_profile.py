"""Time per layer type of the compiled model, by OpenVINO's performance counters, for a prompt and for a token.

Counting takes time itself: these figures are for shares, not for speeds.
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

PERF_COUNT = {"PERF_COUNT": "YES"}
"""The property that a model must be compiled with."""
MIN_SHARE = 1.0
"""Percentage of a step below which a layer type is summed up in `others`."""
OTHERS = "others"


class LayerTimes(NamedTuple):
    """Time per layer type of one infer call. OpenVINO reports running averages over all calls so far."""

    milliseconds: dict[str, float]  # by type
    kernels: dict[str, str]  # by type


def profile_figures(
    load: Callable[[], EngineBenchmark], prompt_tokens: int, new_tokens: int, repeats: Repeats
) -> dict[str, Figure]:
    """Return the time and the share of each layer type, for a prompt and for a token after it.

    load: compiles the model with PERF_COUNT, anew for each repetition, since the averages never start again.
    Raises Problem if the device does not report layer times.
    """

    def once() -> list[LayerTimes]:
        with counted_calls() as calls:
            load().generate(prompt_tokens, new_tokens)
        if not calls[-1].milliseconds:
            raise Problem("--profile: the device does not report the time of its layers")
        return calls

    rounds = repeats.of(once)
    prompts, tokens = zip(*(split(calls, new_tokens) for calls in rounds), strict=True)
    kernels = rounds[-1][-1].kernels
    return _figures(f"first token after {prompt_tokens}", prompts, kernels) | _figures("a token", tokens, kernels)


@contextmanager
def counted_calls() -> Iterator[list[LayerTimes]]:
    """Collect the layer times after every infer call of this process."""
    calls: list[LayerTimes] = []

    def counted(infer: Infer) -> Infer:
        def call(request: Any, *args: Any, **options: Any) -> Any:
            outputs = infer(request, *args, **options)
            calls.append(_by_type(request.profiling_info))
            return outputs

        return call

    with inference_replaced(counted):
        yield calls


def split(calls: Sequence[LayerTimes], new_tokens: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the milliseconds of the prompt's call and of a token's after it, from the running averages.

    The last new_tokens calls are the prompt's and those of all tokens but the last; any before are the engine's
    self-test at load.
    """
    sums = [{kind: (i + 1) * taken for kind, taken in call.milliseconds.items()} for i, call in enumerate(calls)]
    last, prompt, before = sums[-1], sums[-new_tokens], dict[str, float]()
    if len(sums) > new_tokens:
        before = sums[-new_tokens - 1]
    first = {kind: taken - before.get(kind, 0.0) for kind, taken in prompt.items()}
    later = {kind: (taken - prompt.get(kind, 0.0)) / (new_tokens - 1) for kind, taken in last.items()}
    return first, later


def _by_type(layers: Sequence[Any]) -> LayerTimes:
    milliseconds: dict[str, float] = defaultdict(float)
    kernels: dict[str, set[str]] = defaultdict(set)
    for layer in layers:
        if layer.status == ov.ProfilingInfo.Status.EXECUTED:
            milliseconds[layer.node_type] += layer.real_time.total_seconds() * 1e3
            kernels[layer.node_type].add(layer.exec_type)
    return LayerTimes(dict(milliseconds), {kind: ", ".join(sorted(names)) for kind, names in kernels.items()})


def _figures(name: str, rounds: Sequence[dict[str, float]], kernels: dict[str, str]) -> dict[str, Figure]:
    """Return the figures of a prompt or a token, the most expensive layer types first and the cheap ones summed."""
    sums = {kind: sum(step.get(kind, 0.0) for step in rounds) for step in rounds for kind in step}
    expensive = [kind for kind, taken in sums.items() if 100 * taken >= MIN_SHARE * sum(sums.values())]
    figures: dict[str, Figure] = {}
    for kind in [*sorted(expensive, key=sums.__getitem__, reverse=True), OTHERS]:
        taken = [
            step.get(kind, 0.0)
            if kind in expensive
            else sum(ms for other, ms in step.items() if other not in expensive)
            for step in rounds
        ]
        shares = [100 * ms / sum(step.values()) for ms, step in zip(taken, rounds, strict=True)]
        label = f"{name}, {kind} ({kernels[kind]})" if kind in expensive else f"{name}, {kind}"
        figures |= {label: Figure("ms", tuple(taken)), f"{label}, share": Figure("%", tuple(shares))}
    return figures
