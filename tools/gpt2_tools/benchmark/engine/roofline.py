"""What memory allows: every token reads all weights once, and they come no faster than the machine reads.

Keys and values are left out, a few per cent.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gpt2_tools.benchmark.engine import memory_bandwidth
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.common.json_process import JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem

PATIENCE = 60.0
"""Seconds that one reading of the memory may take."""


def allowed(bandwidth: Sequence[float], ir: Path) -> list[float]:
    """Return the tokens/s that reading the weights of an IR allows, for each rate in GB/s."""
    gigabytes = ir.with_suffix(".bin").stat().st_size / 1e9
    return [rate / gigabytes for rate in bandwidth]


def bound_figures(bandwidth: Sequence[float], ir: Path, speeds: Sequence[float]) -> dict[str, Figure]:
    """Return how fast memory was read in each round, the tokens/s that allowed, and what share of it was reached."""
    return {"memory read": Figure("GB/s", tuple(bandwidth))} | decode_bound(bandwidth, ir, speeds)


def decode_bound(bandwidth: Sequence[float], ir: Path, speeds: Sequence[float]) -> dict[str, Figure]:
    """Return the tokens/s that each round's rate in GB/s allows, and what share of it was reached."""
    bounds = allowed(bandwidth, ir)
    shares = [speed / bound for speed, bound in zip(speeds, bounds, strict=True)]
    return {
        "decode as memory allows": Figure("tokens/s", tuple(bounds)),
        "decode / as memory allows": Figure("x", tuple(shares)),
    }


@contextmanager
def bandwidth_meter(device: str, threads: int, say: Callable[[str], None]) -> Iterator[Callable[[], float] | None]:
    """Give a function that has the memory read, in GB/s, by a process of its own; None where it cannot be."""
    if not device.startswith("CPU"):
        yield None
        return
    command = [sys.executable, "-m", memory_bandwidth.__name__, str(threads)]
    try:
        process = JsonProcess(command, PATIENCE)
    except PeerFailed as reason:
        say(f"how fast memory is read is not measured: {reason}")
        yield None
        return
    with process:
        yield lambda: read_by(process)


def read_by(process: JsonProcess) -> float:
    """Return how fast a process reads memory, in GB/s. Raises Problem where it does not get there."""
    try:
        return float(process.ask({})[memory_bandwidth.ANSWER])
    except PeerFailed as reason:
        raise Problem(f"memory could not be read to the end: {reason}") from None
