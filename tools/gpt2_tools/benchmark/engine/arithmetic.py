"""The arithmetic that "auto" may choose on this CPU, measured in turns: the speed of each relative to the first.

Each has a row of figures for each use: a prompt, and tokens after a short one, of one row or of several.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import openvino as ov

from gpt2_text_prediction.engine import Arithmetic, DeviceConfig, has_bf16, read_ir, weights_of
from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import arithmetic_words

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
        name = arithmetic_words(arithmetic._asdict())
        say(f"{name}: loading ...")
        benches[name] = EngineBenchmark(model, replace(config, properties=arithmetic.properties()))
    figures: dict[str, Figure] = {}
    for use in USES:
        say(f"{use.name} ...")
        figures |= _figures(benches, use, repeats)
    threads = next(iter(benches.values())).settings()["threads"]
    facts = {"has_bf16": with_bf16, "is_quantized": weights.is_quantized, "weights_group": weights.group}
    return figures, {"threads": threads, **facts}


def _figures(benches: Mapping[str, EngineBenchmark], use: Use, repeats: Repeats) -> dict[str, Figure]:
    """Return the tokens/s of the first at a use, and the ratios of the others to it, round by round."""
    rounds = repeats.of(lambda: [_speed(bench, use) for bench in benches.values()])
    base, *others = zip(*rounds, strict=True)
    first, *names = (f"{use.name}, {name}" for name in benches)
    figures = {first: Figure("tokens/s", base)}
    for name, speeds in zip(names, others, strict=True):
        figures[name] = Figure("x", tuple(speed / its for speed, its in zip(speeds, base, strict=True)))
    return figures


def _speed(bench: EngineBenchmark, use: Use) -> float:
    """Return the tokens/s of all rows: of the prompts, or of the new tokens after the first."""
    times = bench.generate(use.prompt_tokens, use.new_tokens, use.rows).times
    if use.new_tokens == 1:
        return use.rows * use.prompt_tokens / times[0]
    return use.rows * (use.new_tokens - 1) / sum(times[1:])
