"""Environments of the benchmark's peers: made once with pip, from pinned requirements, and kept in a cache folder.

What is run in them is not known here.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gpt2_tools.common.json_process import PeerFailed
from omz_model_tools.common import exclusive

Say = Callable[[str], None]

PROGRESS = ("Collecting ", "Building wheel", "Installing collected")
"""How the lines of pip begin that are passed on."""
COMPLETE = "complete"
"""The file that is written last."""


def default_cache(environment: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """Return the user's cache folder for peers."""
    home = home or Path.home()
    if sys.platform == "win32":
        caches = Path(environment.get("LOCALAPPDATA") or home / "AppData/Local")
    elif sys.platform == "darwin":
        caches = home / "Library/Caches"
    else:
        caches = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    return caches / "omz-gpt2" / "peers"


def provide_environment(name: str, requirements: Path, cache: Path, variables: Mapping[str, str], say: Say) -> Path:
    """Return the python of a peer's environment, which is made where it is not there.

    variables: of the environment that pip runs in, beside our own. Raises PeerFailed.
    """
    pinned = requirements.read_text(encoding="utf-8")
    told = "\n".join([pinned, platform.python_version(), *(f"{key}={value}" for key, value in variables.items())])
    folder = cache / "environments" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    with complete_once(folder, name, say) as begin:
        if begin:
            say(f"{name}: making its environment in {folder} ...")
            _run(
                [sys.executable, "-m", "venv", str(folder)], {}, folder.with_name(f"{folder.name}.log"), lambda _: None
            )
            pip = [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
            pip += ["--progress-bar", "off", "-r", str(requirements)]
            log = folder.with_name(f"{folder.name}.log")
            _run(pip, variables, log, lambda line: _pass_on(line, name, say))
    return python_of(folder)


def python_of(folder: Path) -> Path:
    """Return the python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def foreign(variables: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with variables, without what is said to our Python: its paths, its warnings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | dict(variables)


@contextmanager
def complete_once(folder: Path, name: str, say: Say) -> Iterator[bool]:
    """Tell whether a folder has to be filled, by one process at a time; left without an error, it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_name(f".{folder.name}.lock"), lambda: say(f"{name}: another process makes it ...")):
            if (folder / COMPLETE).exists():
                yield False
                return
            shutil.rmtree(folder, ignore_errors=True)  # what was begun and not ended
            yield True
            (folder / COMPLETE).touch()
    except OSError as error:
        raise PeerFailed(f"{error.filename or folder}: {error.strerror or error}") from None


def _pass_on(line: str, name: str, say: Say) -> None:
    if line.startswith(PROGRESS):
        say(f"{name}: {line.partition(' (from ')[0]}")


def _run(command: list[str], variables: Mapping[str, str], log: Path, heard: Callable[[str], None]) -> None:
    """Run a command, what it says kept in a log."""
    last = "no word"
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
            heard(line.strip())
            told = line.startswith("ERROR: ") and not line.strip().endswith(":")
            if told or (line.strip() and not last.startswith("ERROR: ")):
                last = line.strip()
    if process.returncode:
        raise PeerFailed(f"its environment cannot be made: {last}; all that was said: {log}")
