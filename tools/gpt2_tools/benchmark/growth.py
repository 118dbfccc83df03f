"""What large work costs, by its size: samples of -o, beams with stop strings, prompts of one call, records resumed.

All in CPU seconds, which other processes change less than the clock. What runs as a process of its own is measured
whole, less what the same takes for a single text of one token, and so without loading.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gpt2_text_prediction import Beams, TextGenerator
from gpt2_text_prediction.engine import DeviceConfig
from gpt2_tools.benchmark.engine.scaling import Curve
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.benchmark.processes import generate_texts
from gpt2_tools.benchmark.processes.commands import demo_command
from gpt2_tools.benchmark.processes.process import run_process
from gpt2_tools.common.problem import Problem

PROMPT = "The poem was written by"
SAMPLES = (1, 8, 32)
TEXTS, TEXT_TOKENS = 256, 16
"""Texts in all, whatever the number of samples of a prompt, and new tokens of each."""
LENGTHS = (50, 100, 200, 400)
NUM_BEAMS, BEAM_ROUNDS = 4, 5
"""With stop strings and without they differ by less than one run does from the next."""
STOP = tuple(f"{digit} stops the text" for digit in range(10))
PROMPTS, PROMPT_TOKENS = (500, 1000, 2000, 4000), 8
RECORDS = (1000, 10_000, 100_000)
MS_A_TOKEN = "ms of CPU a token"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """The sizes of each table; `part`: the full ones are divided by it."""

    part: int

    def of(self, full: Sequence[int]) -> list[int]:
        """Return sizes of at least one, each once."""
        return list(dict.fromkeys(self.one(size) for size in full))

    def one(self, full: int) -> int:
        """Return a size of at least one."""
        return max(1, full // self.part)


class Cost(NamedTuple):
    """CPU seconds and peak memory of a process."""

    cpu: float
    mb: float

    def beyond(self, other: "Cost") -> "Cost":
        """Return what it takes more than another."""
        return Cost(self.cpu - other.cpu, self.mb - other.mb)


class Table(NamedTuple):
    """Figures by size: panels of the picture, each with curves of one unit, and ratios of two curves."""

    panels: list[list[Curve]]
    ratios: dict[str, Figure]

    def figures(self) -> dict[str, Figure]:
        """Return all figures by name."""
        curves = (curve.figures() for panel in self.panels for curve in panel)
        return {name: figure for figures in (*curves, self.ratios) for name, figure in figures.items()}


def growth_tables(model: Path, config: DeviceConfig, sizes: Sizes, repeats: Repeats, say: Say) -> list[Table]:
    """Return the four tables. Raises Problem where a process cannot be measured or fails."""
    with tempfile.TemporaryDirectory(prefix="gpt2_growth.") as folder:
        processes = _Processes(model, config, Path(folder), repeats)
        say("samples ...")
        tables = [_samples(processes, sizes)]
        say("beams ...")
        tables.append(_beams(model, config, sizes, repeats))
        say("prompts ...")
        tables.append(_prompts(processes, sizes))
        say("records ...")
        return [*tables, _records(processes, sizes)]


class _Processes:
    """Runs the demo with -o, or generate, on a model; each as often as is asked for."""

    def __init__(self, model: Path, config: DeviceConfig, folder: Path, repeats: Repeats) -> None:
        self._model, self._config, self.folder, self._repeats = model, config, folder, repeats

    def prompts(self, count: int) -> Path:
        """Return a file of so many prompts, each another."""
        path = self.folder / f"{count}.txt"
        path.write_text("".join(f"{PROMPT} {number}\n" for number in range(count)))
        return path

    def generate(self, prompts: int, samples: int, tokens: int) -> list[Cost]:
        """Return the costs of a call of generate."""
        settings = {"num_return_sequences": samples, "max_new_tokens": tokens, "seed": 0, "ignore_eos": True}
        command = generate_texts.command(self._model, self._config, self.prompts(prompts), **settings)
        return self._repeats.of(lambda: _cost(command))

    def output(self, prompts: int, samples: int, tokens: int) -> list[Cost]:
        """Return the costs of the demo with -o, each into a new file."""

        def once() -> Cost:
            path = self.folder / "records.jsonl"
            path.unlink(missing_ok=True)
            return _cost(self.demo(self.prompts(prompts), path, samples, tokens))

        return self._repeats.of(once)

    def resume(self, count: int) -> list[Cost]:
        """Return the costs of the demo with -o on a file that has the records of all prompts already."""
        prompts, path = self.folder / "same.txt", self.folder / "resumed.jsonl"
        path.unlink(missing_ok=True)
        prompts.write_text(f"{PROMPT}\n")
        command = self.demo(prompts, path, 1, TEXT_TOKENS)
        run_process(command)
        record = json.loads(path.read_bytes())
        prompts.write_text(f"{PROMPT}\n" * count)
        with open(path, "w", encoding="utf-8") as file:
            for number in range(1, count + 1):
                file.write(json.dumps({**record, "prompt_number": number}, ensure_ascii=False) + "\n")
        size = path.stat().st_size
        costs = self._repeats.of(lambda: _cost(command))
        if path.stat().st_size != size:
            raise Problem("--growth: a file of -o was not resumed: its records were written again")
        return costs

    def demo(self, prompts: Path, output: Path, samples: int, tokens: int) -> list[str]:
        """Return the demo's command with -o."""
        options = {
            "prompt_file": prompts,
            "output": output,
            "num_return_sequences": samples,
            "max_new_tokens": tokens,
            "seed": 0,
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [*demo_command(self._model, self._config), *flags, "--ignore_eos"]


def _cost(command: Sequence[str]) -> Cost:
    run = run_process(command)
    if run.cpu_seconds is None or run.peak_mb is None:
        raise Problem("--growth: this system does not report the CPU time of a process")
    return Cost(run.cpu_seconds, run.peak_mb)


def _beyond(costs: Sequence[Cost], base: Sequence[Cost]) -> list[Cost]:
    return [cost.beyond(least) for cost, least in zip(costs, base, strict=True)]


def _samples(processes: _Processes, sizes: Sizes) -> Table:
    """Return the CPU time of a token of texts in a file of -o, and of one call of generate, by samples of a prompt."""
    base = processes.output(1, 1, 1), processes.generate(1, 1, 1)
    texts = sizes.one(TEXTS)
    found = {}
    for samples in SAMPLES:
        prompts = -(-texts // samples)
        runs = processes.output(prompts, samples, TEXT_TOKENS), processes.generate(prompts, samples, TEXT_TOKENS)
        tokens = prompts * samples * TEXT_TOKENS
        output, call = (
            [1e3 * cost.cpu / tokens for cost in _beyond(run, its)] for run, its in zip(runs, base, strict=True)
        )
        found[samples] = output, call
    return _pairs("{x} samples, %s", "samples of a prompt", ("-o", "generate"), found)


def _beams(model: Path, config: DeviceConfig, sizes: Sizes, repeats: Repeats) -> Table:
    """Return the CPU time of a token of beams with stop strings and without, in turns, by length."""
    beams = Beams(num_beams=NUM_BEAMS, early_stopping="never", ignore_eos=True)
    options: dict[str, Any] = {"precision_hint": config.precision_hint, "num_threads": config.num_threads}
    with TextGenerator(model, device=config.device, **options) as generator:
        most = generator.engine.n_positions + 1 - len(generator.prompt_tokens(PROMPT))

        def once(stop: Sequence[str], length: int) -> float:
            start = time.process_time()
            generator.generate(PROMPT, beams, max_new_tokens=length, stop=stop, logprobs=None)
            return 1e3 * (time.process_time() - start) / length

        once(STOP, 1)  # the first step packs weights
        found = {}
        for length in sizes.of([min(length, most) for length in LENGTHS]):
            rounds = [(once(STOP, length), once((), length)) for _ in range(BEAM_ROUNDS * repeats.runs)]
            found[length] = [of[0] for of in rounds], [of[1] for of in rounds]
    return _pairs(f"{NUM_BEAMS} beams, {{x}} tokens, %s", "new tokens", ("with stops", "without"), found)


def _pairs(
    name: str, x: str, labels: tuple[str, str], found: Mapping[int, tuple[Sequence[float], Sequence[float]]]
) -> Table:
    """Return two curves of ms a token in one panel, and the ratios of the first to the second."""
    curves = [
        Curve(name % label, x, MS_A_TOKEN, {n: Figure("ms", tuple(of[which])) for n, of in found.items()}, label)
        for which, label in enumerate(labels)
    ]
    ratios = {
        (name % " / ".join(labels)).format(x=n): Figure("x", tuple(a / b for a, b in zip(*of, strict=True)))
        for n, of in found.items()
    }
    return Table([curves], ratios)


def _prompts(processes: _Processes, sizes: Sizes) -> Table:
    """Return the CPU time of a prompt, and the memory of all, by how many prompts one call of generate has."""
    base = processes.generate(1, 1, 1)
    costs = {n: _beyond(processes.generate(n, 1, PROMPT_TOKENS), base) for n in sizes.of(PROMPTS)}
    cpu = {n: Figure("ms", tuple(1e3 * cost.cpu / n for cost in of)) for n, of in costs.items()}
    name, x = "{x} prompts of a call", "prompts of a call"
    first = next(iter(cpu))
    ratios = {
        f"{name.format(x=n)}, a prompt / one of {first}": Figure(
            "x", tuple(a / b for a, b in zip(its.values, cpu[first].values, strict=True))
        )
        for n, its in cpu.items()
        if n != first
    }
    return Table([[Curve(f"{name}, CPU of one", x, "ms of CPU a prompt", cpu)], [_memory(name, x, costs)]], ratios)


def _records(processes: _Processes, sizes: Sizes) -> Table:
    """Return the CPU time and the memory of a run with -o that finds all its records done, by their number."""
    base = processes.resume(1)
    costs = {n: _beyond(processes.resume(n), base) for n in sizes.of(RECORDS)}
    cpu = {n: Figure("s", tuple(cost.cpu for cost in of)) for n, of in costs.items()}
    name, x = "{x} records resumed", "records of -o, resumed"
    return Table([[Curve(f"{name}, CPU", x, "s of CPU", cpu)], [_memory(name, x, costs)]], {})


def _memory(name: str, x: str, costs: Mapping[int, Sequence[Cost]]) -> Curve:
    points = {n: Figure("MB", tuple(cost.mb for cost in of)) for n, of in costs.items()}
    return Curve(f"{name}, memory", x, "MB of memory", points)
