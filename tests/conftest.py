"""What several test files share: gpt-2-mini, downloaded and converted by the real commands, once a session."""

import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.hub import Hub
from support.soak import FaultSchedules

COMMANDS = Path(sysconfig.get_path("scripts"))

SCHEDULES = pytest.StashKey[FaultSchedules]()


def pytest_addoption(parser):
    """How long the random tests of the downloader and of memory take is for who runs them to say: make soak."""
    told = "random schedules of faults for the downloader (default: %(default)s)"
    parser.addoption("--fault_schedules", type=int, default=200, metavar="N", help=told)
    told = "generations after half of which memory must not grow (default: %(default)s, which is none)"
    parser.addoption("--generations", type=int, default=0, metavar="N", help=told)


def pytest_configure(config):
    """Count from nought, time nothing (a machine may be busy), and let commands hear Ctrl-C, as on a terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what it puts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")
    config.stash[SCHEDULES] = FaultSchedules(config.getoption("--fault_schedules"))


def pytest_terminal_summary(terminalreporter, config):
    """Say how many there were, if any."""
    if config.stash[SCHEDULES].tried:
        terminalreporter.write_line(config.stash[SCHEDULES].text())


@pytest.fixture(scope="session")
def fault_schedules(pytestconfig) -> FaultSchedules:
    """Return the count of random schedules, wanted and tried."""
    return pytestconfig.stash[SCHEDULES]


@pytest.fixture(scope="session")
def run():
    """Return a function that runs a command of ours to its end and returns its exit code, stdout and stderr."""

    def run_command(name: str, *arguments: object, stdin: bytes = b"", **options) -> subprocess.CompletedProcess:
        command = [str(COMMANDS / name), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "80", "PYTHONWARNINGS": "error", **options.pop("env", {})}
        return subprocess.run(
            command, input=stdin, capture_output=True, timeout=120, env=environment, check=False, **options
        )

    return run_command


@pytest.fixture(scope="session")
def interrupted():
    """Return a function that sends a command of ours Ctrl-C behind its first line on stderr, and returns stdout."""

    def run_command(name: str, *arguments: object) -> str:
        command = [COMMANDS / name, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        return out

    return run_command


@pytest.fixture(scope="session")
def mini(run, tmp_path_factory) -> Path:
    """Return the folder public/gpt-2-mini, with what was downloaded and both precisions."""
    folder = tmp_path_factory.mktemp("mini")
    for command in ("omz_downloader", "omz_converter"):
        done = run(command, "--name", "gpt-2-mini", cwd=folder)
        assert done.returncode == 0, done.stderr.decode()
    return folder / "public/gpt-2-mini"


@pytest.fixture(scope="session")
def mini_ir(mini) -> Path:
    """Return the FP16 IR of gpt-2-mini."""
    return mini / "FP16/gpt-2-mini.xml"


@pytest.fixture(scope="session")
def demo(run, mini_ir):
    """Return a function that runs the demo on gpt-2-mini."""
    return lambda *arguments, **options: run("gpt2_text_prediction_demo", "-m", mini_ir, *arguments, **options)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Yield a server on this machine that behaves like a hub of models, or as badly as it is told."""
    with Hub() as running:
        yield running


@pytest.fixture
def place(tmp_path) -> Path:
    """Return where downloads.download(tmp_path, downloads.toy(...)) puts the toy's one file."""
    return tmp_path / "out/public/toy/sub/x.bin"
