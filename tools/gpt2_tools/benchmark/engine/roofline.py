"""The roofline of decoding: each token reads all weights once, so memory bandwidth bounds the tokens/s.

Keys and values, a few per cent of the bytes, are neglected.
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
"""Timeout of one bandwidth measurement in seconds."""


def max_tokens_per_second(bandwidth: Sequence[float], ir: Path) -> list[float]:
    """Return the roofline, in tokens/s, of each bandwidth in GB/s: every token reads all weights of an IR."""
    gigabytes = ir.with_suffix(".bin").stat().st_size / 1e9
    return [rate / gigabytes for rate in bandwidth]


def bound_figures(bandwidth: Sequence[float], ir: Path, speeds: Sequence[float]) -> dict[str, Figure]:
    """Return the bandwidth of each repetition, the roofline in tokens/s, and the fraction of it that was reached."""
    return {"memory read": Figure("GB/s", tuple(bandwidth))} | decode_bound(bandwidth, ir, speeds)


def decode_bound(bandwidth: Sequence[float], ir: Path, speeds: Sequence[float]) -> dict[str, Figure]:
    """Return the roofline in tokens/s at each repetition's bandwidth in GB/s, and the fraction that was reached."""
    bounds = max_tokens_per_second(bandwidth, ir)
    shares = [speed / bound for speed, bound in zip(speeds, bounds, strict=True)]
    return {
        "decode as memory allows": Figure("tokens/s", tuple(bounds)),
        "decode / as memory allows": Figure("x", tuple(shares)),
    }


@contextmanager
def bandwidth_meter(device: str, threads: int, say: Callable[[str], None]) -> Iterator[Callable[[], float] | None]:
    """Yield a function that measures the bandwidth in GB/s, in a process of its own; None if that is not possible."""
    if not device.startswith("CPU"):
        yield None
        return
    command = [sys.executable, "-m", memory_bandwidth.__name__, str(threads)]
    try:
        process = JsonProcess(command, PATIENCE)
    except PeerFailed as reason:
        say(f"memory bandwidth is not measured: {reason}")
        yield None
        return
    with process:
        yield lambda: read_by(process)


def read_by(process: JsonProcess) -> float:
    """Return the bandwidth that a process measures, in GB/s. Raises Problem if it fails."""
    try:
        return float(process.ask({})[memory_bandwidth.ANSWER])
    except PeerFailed as reason:
        raise Problem(f"memory bandwidth could not be measured: {reason}") from None
