"""omz_downloader beside curl and sha256sum: the same file from the same server, in turns, as whole processes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.processes.process import ProcessRun, run_process
from gpt2_tools.common.problem import Problem
from omz_model_tools.common import disk_problems

MB = 1_000_000
NO_PROXY = ("env", "no_proxy=127.0.0.1")
WHOLE = "whole process"


def measure_download(megabytes: int, num_warmup: int, num_iter: int, downloader: str) -> dict[str, Figure]:
    """Download a file of random bytes with both, num_warmup + num_iter times; return their times and rates.

    downloader: the path of omz_downloader.
    """
    for tool in ("curl", "sha256sum"):
        if shutil.which(tool) is None:
            raise Problem(f"--download: {tool} is not installed; install it: omz_downloader is measured beside it")
    temporary = Path(tempfile.gettempdir())
    with disk_problems(temporary), tempfile.TemporaryDirectory(dir=temporary, prefix="gpt2_benchmark.") as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free // MB
        if free < 2 * megabytes:  # the file, and what is downloaded
            raise Problem(f"--download: {temporary}: expected {2 * megabytes} MB free, got {free} MB: set TMPDIR")
        digest = _write_noise(folder / "noise", megabytes)
        with _server(folder / "noise") as url:
            _write_descriptor(folder / "models", megabytes * MB, digest, url)
            commands = {
                "curl && sha256sum": _curl(url, folder / "out"),
                "omz_downloader": _ours(downloader, folder / "models", folder / "out"),
            }
            rounds = [_round(commands, folder / "out") for _ in range(num_warmup + num_iter)][num_warmup:]
    return _figures(list(commands), rounds, megabytes)


def _write_noise(path: Path, megabytes: int) -> str:
    """Write a file of incompressible bytes; return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("xb") as out:
        for _ in range(megabytes):
            piece = os.urandom(MB)
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def _write_descriptor(tree: Path, size: int, digest: str, url: str) -> None:
    checksum = {"$type": "sha256", "value": digest}
    descriptor = {
        "description": "Random bytes.",
        "task_type": "text_prediction",
        "files": [{"name": "noise", "size": size, "checksum": checksum, "source": url}],
        "framework": "dldt",
        "license": url,
    }
    path = tree / "public" / "noise" / "model.yml"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(descriptor))  # JSON is YAML


@contextmanager
def _server(path: Path) -> Iterator[str]:
    """Serve a file from another process; yield its URL."""
    command = [sys.executable, "-S", str(Path(__file__).with_name("file_server.py")), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield f"http://127.0.0.1:{port}/{path.name}"


def _curl(url: str, folder: Path) -> list[str]:
    script = 'mkdir "$2" && curl -sS -o "$2/noise" "$1" && sha256sum "$2/noise"'
    return [*NO_PROXY, "sh", "-c", script, "sh", url, str(folder)]


def _ours(downloader: str, models: Path, folder: Path) -> list[str]:
    return [*NO_PROXY, downloader, "--models_dir", str(models), "--name", "noise", "-o", str(folder)]


def _round(commands: dict[str, list[str]], out: Path) -> dict[str, ProcessRun]:
    """Run each command once; its output is deleted before the next starts, so that no write-back is pending."""
    runs = {}
    for name, command in commands.items():
        runs[name] = run_process(command)
        shutil.rmtree(out)
    return runs


def _figures(names: list[str], rounds: list[dict[str, ProcessRun]], megabytes: int) -> dict[str, Figure]:
    times = {name: Figure("s", tuple(turn[name].seconds for turn in rounds)) for name in names}
    figures = {f"{name}, {WHOLE}": figure for name, figure in times.items()}
    for name, figure in times.items():
        figures[f"{name}, rate"] = Figure("MB/s", tuple(megabytes / seconds for seconds in figure.values))
    theirs, ours = (times[name].median for name in names)
    figures["omz_downloader, share of curl's rate"] = Figure("x", (theirs / ours,))
    peaks = [peak for turn in rounds if (peak := turn["omz_downloader"].peak_mb) is not None]
    return figures | ({f"omz_downloader, {WHOLE}, peak memory": Figure("MB", tuple(peaks))} if peaks else {})
