"""environments: one is created once, offline from a wheel made here; a failure is one line and tried again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpt2_tools.benchmark.peers.environments import (
    commands,
    complete_once,
    folder_name,
    provide_environment,
    python_of,
)
from gpt2_tools.common.json_process import PeerFailed
from support.fake_peer import fake_peer


@pytest.fixture
def made(created):
    """Return (the python of an environment, the requirements, what was said when it was created)."""
    pinned, said = created / "fake/fake.txt", json.loads((created / "said.json").read_text(encoding="utf-8"))
    (python,) = (created / "cache/environments").glob("fake-*/bin/python")
    return python, pinned, said


def test_what_is_pinned_is_there_and_nothing_of_ours(made):
    python, *_ = made
    source = "import fake_engine, importlib.util; print(fake_engine.SECONDS, importlib.util.find_spec('numpy'))"
    done = subprocess.run([python, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "2.0 None\n"


def test_progress_is_said(made):
    python, _, said = made
    assert said[0].startswith("fake: creating its environment in ")
    assert said[0].endswith(f"cache/environments/{python.parent.parent.name} ...")
    assert said[1:] == ["fake: Installing collected packages: fake_engine"]


def test_the_second_time_it_is_there(made, new_cache, tmp_path):
    python, pinned, _ = made
    cache, said = new_cache(tmp_path / "cache"), []
    found = provide_environment("fake", pinned, cache, {}, said.append)
    assert found == cache / "environments" / python.relative_to(python.parents[2])
    assert said == []


@pytest.mark.parametrize("here", [None, "9.0.3", "22.2.2"])
def test_without_a_pip_that_can_install_elsewhere_it_gets_its_own(tmp_path, here):
    venv, pip = commands(tmp_path, here)
    assert venv == [sys.executable, "-m", "venv", str(tmp_path)]
    assert pip == [str(python_of(tmp_path)), "-m", "pip"]


@pytest.mark.parametrize("here", ["22.3", "23.0.1", "100.dev0"])
def test_another_pip_serves_it(tmp_path, here):
    venv, pip = commands(tmp_path, here)
    assert venv == [sys.executable, "-m", "venv", str(tmp_path), "--without-pip"]
    assert pip == [sys.executable, "-m", "pip", "--python", str(tmp_path)]


def test_what_pip_cannot_install_is_one_line(tmp_path):
    pinned = fake_peer(tmp_path / "fake", {}, pinned="fake_engine==2.0").folder / "fake.txt"
    with pytest.raises(PeerFailed) as failed:
        provide_environment("fake", pinned, tmp_path / "cache", {}, lambda _: None)
    line, log = str(failed.value).split("; see ")
    assert line == "cannot create its environment: ERROR: No matching distribution found for fake_engine==2.0"
    assert "from versions: 1.0" in Path(log).read_text(encoding="utf-8")


def test_what_pip_is_given_decides_which_environment_it_is(made, new_cache, tmp_path):
    python, pinned, _ = made
    said = []

    def begins(line):
        said.append(line)
        raise InterruptedError

    with pytest.raises(PeerFailed):
        provide_environment("fake", pinned, new_cache(tmp_path / "cache"), {"FLAG": "1"}, begins)
    assert said[0].startswith("fake: creating its environment in ")
    assert python.parent.parent.name not in said[0]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(PeerFailed, match=r"cache.*: (Not a directory|File exists)$"):
        provide_environment("fake", Path(__file__), tmp_path / "cache", {}, lambda _: None)


def test_a_folder_whose_filling_fails_is_filled_anew(tmp_path):
    folder = tmp_path / "models/one"

    def fail():
        with complete_once(folder, "one", print) as begin:
            assert begin
            folder.mkdir()
            raise PeerFailed("stopped")

    with pytest.raises(PeerFailed, match="stopped"):
        fail()
    with complete_once(folder, "one", print) as begin:
        assert begin
        assert not folder.exists()
        folder.mkdir()
    with complete_once(folder, "one", print) as begin:
        assert not begin


def test_an_environment_is_of_its_packages_its_python_and_where_it_compiles_of_its_machine(monkeypatch):
    names = {folder_name("x", *key) for key in [("a", {}), ("b", {}), ("a", {"CMAKE_ARGS": "1"})]}
    monkeypatch.setattr("gpt2_tools.benchmark.peers.environments.processor", lambda: "another")
    assert folder_name("x", "a", {}) in names
    assert folder_name("x", "a", {"CMAKE_ARGS": "1"}) not in names
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    assert folder_name("x", "a", {}) not in names
