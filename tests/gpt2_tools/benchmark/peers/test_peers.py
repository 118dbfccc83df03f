"""peers: their pins and modules; a model is converted once, by the peer's own module or by gpt2_export."""

import importlib
import os
import re

import pytest

from gpt2_tools.benchmark.peers.peers import PEERS, RUNNERS, Peer, RunSettings, Weights, provide_runner, start_peer
from gpt2_tools.common.json_process import CannotRun, PeerFailed
from support import HANGS_AFTER
from support.fake_peer import fake_peer


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_every_package_is_pinned_and_torch_to_the_same_version(peer):
    pins = (RUNNERS / f"{peer.name}.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.]*", pin) for pin in pins), pins
    assert [pin for pin in pins if pin.startswith("torch==")] in ([], ["torch==2.13.0"])


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_every_peer_has_a_module_which_imports_nothing_heavy(peer):
    module = importlib.import_module(f"gpt2_tools.benchmark.peers.runners.{peer.module}")
    pins = (RUNNERS / f"{peer.name}.txt").read_text(encoding="utf-8")
    assert all(f"{package}==" in pins for package in module.PACKAGES)
    assert callable(module.load)
    assert hasattr(module, "prepare") != peer.exported


def test_the_peers_of_the_documentation():
    assert list(PEERS) == ["transformers", "openvino-genai", "llama.cpp", "ctranslate2", "optimum-intel"]
    assert {precision for peer in PEERS.values() for precision in peer.variants.values()} == {"FP16", "INT8"}


@pytest.fixture(scope="module")
def fake(tmp_path_factory, new_cache):
    """Return a function that starts a variant of the fake peer, what it has said, its checkpoint and its module."""
    folder, said = tmp_path_factory.mktemp("fake"), []
    peer = fake_peer(folder / "runners", {})
    run = RunSettings(2, HANGS_AFTER, said.append)
    cache = new_cache(folder / "cache")
    runner = provide_runner(peer, cache, run)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors"):
        (checkpoint / name).write_text('{"a": 1}')

    def start(variant):
        said.clear()
        return start_peer(peer, variant, Weights(checkpoint, {}), cache, runner, run)

    return start, said, checkpoint, peer.folder / "run_fake.py"


def test_it_is_converted_once_and_answers_by_the_real_runner(fake):
    start, said, *_ = fake
    for times in (2, 1):
        with start("single") as process:
            reported = {"inference": "f32", "cache": "f16"}
            assert process.first == {"versions": {"fake_engine": "1.0"}, "arithmetic": reported}
            answer = process.ask({"prompts": [[5, 6]], "new_tokens": 3})
            assert answer == {"seconds": 2.0, "first": 0.5, "tokens": [[1, 1, 1]]}
            with pytest.raises(CannotRun, match="one prompt at a time"):
                process.ask({"prompts": [[5, 6], [7, 8]], "new_tokens": 3})
        assert len(said) == times
        assert said[-1] == "fake single: loading ..."


def test_it_is_converted_again_for_another_checkpoint_or_by_another_converter(fake):
    start, said, checkpoint, module = fake
    for path in (checkpoint / "config.json", checkpoint / "model.safetensors", module):
        start("once").close()
        before = path.stat()
        path.write_bytes(path.read_bytes().swapcase() if path != module else path.read_bytes() + b"# changed\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        start("once").close()
        assert said[0].startswith("fake once: converting "), path


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ("unconvertible", "python: exit code 1: ValueError: that is no checkpoint"),
        ("unloadable", "ended with exit code 1: MemoryError: no room"),
    ],
)
def test_one_that_cannot_be_converted_or_loaded_is_one_line(fake, variant, line):
    for _ in range(2):
        with pytest.raises(PeerFailed) as failed:
            fake[0](variant)
        assert str(failed.value) == line


def test_one_that_ends_says_its_last_words(fake):
    with fake[0]("dying") as process:
        assert len(process.ask({"prompts": [[5]], "new_tokens": 2})["tokens"][0]) == 2
        with pytest.raises(PeerFailed, match=r"^ended with exit code 1: could not go on$"):
            process.ask({"prompts": [[5]], "new_tokens": 1})


@pytest.fixture
def exported(tmp_path):
    """Return a peer that is exported, weights whose IR is a file, and a way to run it."""
    ir = tmp_path / "gpt-2.xml"
    for path in (ir, ir.with_suffix(".bin")):
        path.touch()
    peer = Peer("openvino-genai", {"FP16": "FP16"}, exported=True)
    return peer, Weights(tmp_path, {"FP16": ir}), RunSettings(2, HANGS_AFTER, lambda _: None)


def test_without_gpt2_export_one_line_says_so(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    peer, weights, run = exported
    with pytest.raises(PeerFailed, match=r"^gpt2_export, which exports its model, is not installed$"):
        start_peer(peer, "FP16", weights, tmp_path / "cache", ["python"], run)


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for the command")
def test_a_gpt2_export_that_fails_is_one_line(exported, tmp_path, monkeypatch):
    command = tmp_path / "gpt2_export"
    command.write_text('#!/bin/sh\necho "$1 $3: no IR of ours" >&2\nexit 1\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    peer, weights, run = exported
    with pytest.raises(PeerFailed, match=r"^gpt2_export: exit code 1: -m -o: no IR of ours$"):
        start_peer(peer, "FP16", weights, tmp_path / "cache", ["python"], run)
