"""The Python environments of peers: created once with pip from pinned requirements, and kept in a cache folder."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from gpt2_tools.common.json_process import PeerFailed
from gpt2_tools.common.runtime import processor
from omz_model_tools.common import exclusive

Say = Callable[[str], None]

PROGRESS = ("Collecting ", "Building wheel", "Installing collected")
"""Prefixes of the pip lines that are shown as progress."""
COMPLETE = "complete"
"""Name of the file that is written last."""


def provide_environment(name: str, requirements: Path, cache: Path, variables: Mapping[str, str], say: Say) -> Path:
    """Return the python of a peer's environment, which is created if it does not exist.

    variables: additional environment variables for pip. Raises PeerFailed.
    """
    folder = cache / "environments" / folder_name(name, requirements.read_text(encoding="utf-8"), variables)
    with complete_once(folder, name, say) as begin:
        if begin:
            say(f"{name}: creating its environment in {folder} ...")
            venv, pip = commands(folder, _pip_here())
            log = folder.with_name(f"{folder.name}.log")
            _run(venv, {}, log, lambda _: None)
            pip += ["install", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(requirements)]
            _run(pip, variables, log, lambda line: _pass_on(line, name, say))
    return python_of(folder)


def folder_name(name: str, pinned: str, variables: Mapping[str, str]) -> str:
    """Return the name of the folder of an environment: another one for other packages, Pythons and machines."""
    compiled_for = processor() if variables else ""  # which are those of a compiler
    python = [platform.python_version(), platform.machine(), sys.base_prefix]  # an environment uses its files
    key = "\n".join([pinned, *python, compiled_for, *(f"{key}={value}" for key, value in variables.items())])
    return f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def commands(folder: Path, pip_here: str | None) -> tuple[list[str], list[str]]:
    """Return the command that creates an environment, and the pip that installs into it.

    That is the pip of our own environment: an environment without pip takes a tenth of the time. pip_here: its
    version; where it is None or too old, the new environment gets its own pip.
    """
    venv = [sys.executable, "-m", "venv", str(folder)]
    if pip_here and [int(part) for part in re.findall(r"\d+", pip_here)] >= [22, 3]:  # the first that has --python
        return [*venv, "--without-pip"], [sys.executable, "-m", "pip", "--python", str(folder)]
    return venv, [str(python_of(folder)), "-m", "pip"]


def python_of(folder: Path) -> Path:
    """Return the python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def foreign(variables: Mapping[str, str]) -> dict[str, str]:
    """Return our environment variables and others, without PYTHON*: those are meant for our own Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | dict(variables)


@contextmanager
def complete_once(folder: Path, name: str, say: Say) -> Iterator[bool]:
    """Yield whether a folder has to be filled, to one process at a time; complete if the block raises no error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(
            folder.with_name(f".{folder.name}.lock"),
            lambda: say(f"{name}: waiting for another process that creates it ..."),
        ):
            if (folder / COMPLETE).exists():
                yield False
                return
            shutil.rmtree(folder, ignore_errors=True)  # from an interrupted run
            yield True
            (folder / COMPLETE).touch()
    except OSError as error:
        raise PeerFailed(f"{error.filename or folder}: {error.strerror or error}") from None


def _pip_here() -> str | None:
    try:
        return metadata.version("pip")
    except metadata.PackageNotFoundError:
        return None


def _pass_on(line: str, name: str, say: Say) -> None:
    if line.startswith(PROGRESS):
        say(f"{name}: {line.partition(' (from ')[0]}")


def _run(command: list[str], variables: Mapping[str, str], log: Path, on_line: Callable[[str], None]) -> None:
    """Run a command with its output in a log. Raises PeerFailed."""
    last = "no message"
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=foreign(variables),
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            on_line(line.strip())
            is_reason = line.startswith("ERROR: ") and not line.strip().endswith(":")  # not the heading of a list
            if is_reason or (line.strip() and not last.startswith("ERROR: ")):
                last = line.strip()
    if process.returncode:
        raise PeerFailed(f"cannot create its environment: {last}; see {log}")
