"""What several test files share: gpt-2-mini, downloaded and converted by the real commands, once a session."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from support import HANGS_AFTER
from support.command import COMMANDS, run_here, run_process
from support.hub import Hub
from support.labels import SPAM, add_head
from support.soak import FaultSchedules


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


@pytest.hookimpl(tryfirst=True)  # before fixtures, which may need the package
def pytest_runtest_setup(item):
    """Pass over what needs a package that is not there, and what the measuring of coverage would change."""
    coverage = sys.modules.get("coverage")
    if item.get_closest_marker("without_coverage") and coverage and coverage.Coverage.current():
        pytest.skip("coverage has objects and files of its own: .ci/run runs this without it")
    for marker in item.iter_markers("extras"):
        for package in marker.args:
            if find_spec(package) is None:
                pytest.skip(f"needs {package}: .ci/run has it")


def pytest_terminal_summary(terminalreporter):
    """Say what tests have counted, in whichever process they ran."""
    for report in terminalreporter.getreports(""):
        for name, counted in report.user_properties:
            if name == FaultSchedules.__name__:
                terminalreporter.write_line(counted)


@pytest.fixture
def fault_schedules(pytestconfig, record_property) -> Iterator[FaultSchedules]:
    """Yield the count of random schedules, wanted and tried; the end of the session shows it."""
    schedules = FaultSchedules(pytestconfig.getoption("--fault_schedules"))
    yield schedules
    record_property(FaultSchedules.__name__, schedules.text())


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> Iterator[None]:
    """Keep what commands remember out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that returns a folder of the session, made by the first process of it that asks: (name, make).

    Nobody changes such a folder.
    """
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, begun = root / name, own / f"{name}.new"
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                begun.mkdir()
                make(begun)
                begun.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def run():
    """Return the function that runs a command of ours to its end, without a process: exit code, stdout and stderr."""
    return run_here


@pytest.fixture(scope="session")
def interrupted():
    """Return a function that sends a command of ours Ctrl-C behind its first line on stderr, and returns stdout."""

    def run_command(name: str, *arguments: object) -> str:
        command = [COMMANDS / name, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=HANGS_AFTER)
        assert process.returncode == 130
        return out

    return run_command


@pytest.fixture(scope="session")
def mini(made_once) -> Path:
    """Return the folder public/gpt-2-mini, with what was downloaded and both precisions."""

    def download_and_convert(folder: Path) -> None:
        for command in ("omz_downloader", "omz_converter"):
            done = run_process(command, "--name", "gpt-2-mini", cwd=folder)
            assert done.returncode == 0, done.stderr.decode()

    return made_once("mini", download_and_convert) / "public/gpt-2-mini"


@pytest.fixture(scope="session")
def mini_quantized(mini, made_once) -> Path:
    """Return a folder with FP16-INT8 and FP16-INT4 of gpt-2-mini; needs nncf."""

    def quantize(folder: Path) -> None:
        done = run_process("omz_quantizer", "--name", "gpt-2-mini", "--model_dir", mini.parents[1], "-o", folder)
        assert done.returncode == 0, done.stderr.decode()

    return made_once("quantized", quantize) / "public/gpt-2-mini"


@pytest.fixture(scope="session")
def mini_ir(mini) -> Path:
    """Return the FP16 IR of gpt-2-mini."""
    return mini / "FP16/gpt-2-mini.xml"


@pytest.fixture(scope="session")
def spam_filter(mini, made_once) -> Path:
    """Return the folder of a model of two labels, gpt-2-mini with a head that was never trained, converted."""

    def convert(folder: Path) -> None:
        score = np.random.default_rng(0).normal(0, 0.02, (2, 256)).astype(np.float32)
        checkpoint = add_head(mini / "gpt2", folder / "checkpoint", score, SPAM, 0)
        arguments = "--checkpoint", checkpoint, "--model_name", "spam-filter", "-o", folder
        done = run_process("omz_converter", *arguments)
        assert done.returncode == 0, done.stderr.decode()

    return made_once("spam-filter", convert)


@pytest.fixture
def public(mini_ir, spam_filter, tmp_path, monkeypatch) -> Path:
    """Make a folder with ./public/gpt-2-mini and ./public/spam-filter the current one, and return it."""
    for name, precision in (("gpt-2-mini", mini_ir.parent), ("spam-filter", spam_filter / "FP16")):
        (tmp_path / "public" / name).mkdir(parents=True)
        (tmp_path / "public" / name / "FP16").symlink_to(precision)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def demo(run, mini_ir):
    """Return a function that runs the demo on gpt-2-mini, in f32 unless a test names another: the same on any CPU."""

    def run_demo(*arguments: object, **options: object):
        exact = () if "PRECISION_HINT" in " ".join(map(str, arguments)).upper() else ("--precision_hint", "f32")
        return run("gpt2_text_prediction_demo", "-m", mini_ir, *arguments, *exact, **options)

    return run_demo


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Yield a server on this machine that behaves like a hub of models, or as badly as it is told."""
    with Hub() as running:
        yield running


@pytest.fixture
def place(tmp_path) -> Path:
    """Return where downloads.download(tmp_path, downloads.toy(...)) puts the toy's one file."""
    return tmp_path / "out/public/toy/sub/x.bin"
