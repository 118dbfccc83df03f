"""Check that the machine has the memory a conversion needs, before it is allocated."""

from collections.abc import Callable
from pathlib import Path

from gpt2_recipe.problem import Problem


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:  # bytes
    """Return the available memory, swap included; None if the system has no /proc/meminfo."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024
    except (OSError, KeyError, ValueError):
        return None


def check_memory(path: Path, needed: int, available: Callable[[], int | None] = available_memory) -> None:
    """Raise Problem if `needed` bytes are more than available."""
    free = available()
    if free is not None and needed > free:
        raise Problem(
            f"{path}: converting it needs {_gigabytes(needed)} of memory, and {_gigabytes(free)} are available; "
            "end other programs, or save it as F32 in model.safetensors, which is not copied"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
