"""The arithmetic that "auto" may choose on this CPU, measured in turns: the speed of each relative to the first.

Each has a row of figures for each use: a prompt, and tokens after a short one, of one row or of several.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import openvino as ov

from gpt2_text_prediction.engine import Arithmetic, DeviceConfig, has_bf16, read_ir, weights_of
from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem

F32, BF16 = Arithmetic("f32"), Arithmetic("bf16", "bf16")
GROUPS = (32, 64, 128)


class Use(NamedTuple):
    """So many rows, each a prompt with new tokens after it; of one new token, the prompt is what is timed."""

    rows: int
    prompt_tokens: int
    new_tokens: int

    @property
    def name(self) -> str:
        """The name of a figure."""
        if self.new_tokens == 1:
            return f"prompt of {self.prompt_tokens}"
        return f"{self.rows} x {self.new_tokens} tokens"


USES = (Use(1, 960, 1), Use(1, 120, 1), Use(8, 16, 64), Use(32, 16, 32), Use(1, 16, 64))


def candidates(is_quantized: bool, with_bf16: bool) -> Iterator[Arithmetic]:
    """Yield the arithmetic to measure, f32 with OpenVINO's own groups first."""
    for arithmetic in (F32, BF16)[: 1 + with_bf16]:
        if is_quantized:
            yield from (arithmetic._replace(group=group) for group in GROUPS)
        else:
            yield arithmetic


def arithmetic_figures(
    model: Path, config: DeviceConfig, repeats: Repeats, say: Callable[[str], None]
) -> tuple[dict[str, Figure], dict[str, object]]:
    """Return the tokens/s of the first candidate and the ratios of the others to it, and what else they depend on.

    bf16 is left out, and that is said, where the CPU would emulate it. Raises Problem for a model of too few positions.
    """
    core = ov.Core()
    ir = read_ir(core, model)
    longest = max(use.prompt_tokens + use.new_tokens for use in USES)
    if ir.n_positions is None or ir.n_positions < longest:
        raise Problem(f"--arithmetic: expected a model of at least {longest} positions, got {ir.n_positions}")
    with_bf16, weights = has_bf16(core), weights_of(ir.model)
    if not with_bf16:
        say("bf16 is not measured: this CPU has no instructions for it and would emulate them")
    benches = {}
    for arithmetic in candidates(weights.is_quantized, with_bf16):
        say(f"{_in_words(arithmetic)}: loading ...")
        benches[arithmetic] = EngineBenchmark(model, replace(config, properties=arithmetic.properties()))
    first, *others = benches.values()
    figures = {}
    for use in USES:
        say(f"{use.name} ...")
        rounds = repeats.of(lambda use=use: [_speed(bench, use) for bench in (first, *others)])  # type: ignore[misc]
        columns = zip(*rounds, strict=True)
        base = next(columns)
        words, *names = map(_in_words, benches)
        figures[f"{use.name}, {words}"] = Figure("tokens/s", base)
        for name, speeds in zip(names, columns, strict=True):
            ratios = tuple(speed / one for speed, one in zip(speeds, base, strict=True))
            figures[f"{use.name}, {name}"] = Figure("x", ratios)
    facts = {"has_bf16": with_bf16, "is_quantized": weights.is_quantized, "weights_group": weights.group}
    return figures, {"threads": first.settings()["threads"], **facts}


def _speed(bench: EngineBenchmark, use: Use) -> float:
    """Return the tokens/s of all rows: of the prompts, or of the new tokens after the first."""
    times = bench.generate(use.prompt_tokens, use.new_tokens, use.rows).times
    if use.new_tokens == 1:
        return use.rows * use.prompt_tokens / times[0]
    return use.rows * (use.new_tokens - 1) / sum(times[1:])


def _in_words(arithmetic: Arithmetic) -> str:
    words = f"{arithmetic.inference}, cache {arithmetic.cache}"
    return words if arithmetic.group is None else f"{words}, groups of {arithmetic.group}"
