"""The peers of the benchmark: their variants, and how each gets its environment, its model and its process."""

import hashlib
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpt2_tools.benchmark.peers.environments import Say, complete_once, foreign, provide_environment
from gpt2_tools.common.json_process import JsonProcess, PeerFailed, run_to_end

LLAMA_CPP = "COMMON TESTS TOOLS EXAMPLES SERVER APP"
"""What of llama.cpp is not built: all but its library, which takes minutes as it is."""


OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""The peers read what they are given and nothing else."""
CONVERSION = 900.0
"""Seconds that a conversion may take."""


RUNNERS = Path(__file__).with_name("runners")


@dataclass(frozen=True)
class Peer:
    """Another program that generates with the same weights.

    variants: each with the precision of ours that it is compared with. exported: it runs what gpt2_export makes of
    our IR. variables: of the environment that its installation needs. folder: where its pinned requirements, its
    module and runner.py lie.
    """

    name: str
    variants: Mapping[str, str]
    exported: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path = RUNNERS

    @property
    def module(self) -> str:
        """The module beside runner.py."""
        return "run_" + self.name.replace("-", "_").replace(".", "_")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("transformers", {"f32": "FP16", "bf16": "FP16"}),
        Peer("openvino-genai", {"FP16": "FP16", "INT8": "INT8"}, exported=True),
        Peer(
            "llama.cpp",
            {"F16": "FP16", "Q8_0": "INT8"},
            variables={"CMAKE_ARGS": " ".join(f"-DLLAMA_BUILD_{part}=OFF" for part in LLAMA_CPP.split())},
        ),
        Peer("ctranslate2", {"float32": "FP16", "int8": "INT8"}),
        Peer("optimum-intel", {"f32": "FP16", "int8": "INT8"}),
    )
}


@dataclass(frozen=True)
class Weights:
    """The model to run: its checkpoint, and our IRs of it by precision."""

    checkpoint: Path
    irs: Mapping[str, Path]


@dataclass(frozen=True)
class Running:
    """How peers are run: threads, the seconds that an answer may take, and where progress is said."""

    threads: int
    patience: float
    say: Say


def provide_runner(peer: Peer, cache: Path, run: Running) -> list[str]:
    """Return the command that runs a peer, in its environment, which is made where it is not there.

    Raises PeerFailed.
    """
    python = provide_environment(peer.name, peer.folder / f"{peer.name}.txt", cache, peer.variables, run.say)
    return [str(python), str(peer.folder / "runner.py")]


def start_peer(peer: Peer, variant: str, weights: Weights, cache: Path, runner: list[str], run: Running) -> JsonProcess:
    """Return a peer's process, loaded; its form of the weights is made where it is not there.

    Raises PeerFailed.
    """
    model = _provide_model(peer, variant, weights, cache, runner, run)
    run.say(f"{peer.name} {variant}: loading ...")
    command = [*runner, "serve", peer.module, variant, str(model), str(run.threads)]
    return JsonProcess(command, run.patience, foreign(OFFLINE))


def start_ours(ir: Path, device: str, run: Running) -> JsonProcess:
    """Return our own engine's process, loaded. Raises PeerFailed."""
    command = [sys.executable, "-m", "gpt2_tools.benchmark.peers.ours", str(ir), device, str(run.threads)]
    return JsonProcess(command, run.patience)


def _provide_model(peer: Peer, variant: str, weights: Weights, cache: Path, runner: list[str], run: Running) -> Path:
    """Return a peer's form of the weights, which is made once."""
    source = weights.irs[variant] if peer.exported else weights.checkpoint
    told = json.dumps([_identity(source), peer.name, variant, runner[0]])
    target = cache / "models" / f"{peer.name}-{variant}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    with complete_once(target, f"{peer.name} {variant}", run.say) as begin:
        if begin:
            run.say(f"{peer.name} {variant}: converting {source} ...")
            _convert(peer, variant, source, target / "model", runner)
    return target / "model"


def _convert(peer: Peer, variant: str, source: Path, target: Path, runner: list[str]) -> None:
    target.parent.mkdir()
    if not peer.exported:
        run_to_end([*runner, "prepare", peer.module, variant, str(source), str(target)], CONVERSION, foreign(OFFLINE))
        return
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    command = shutil.which("gpt2_export", path=places)
    if command is None:
        raise PeerFailed("gpt2_export, which writes its folder, is not installed")
    run_to_end([command, "-m", str(source), "-o", str(target)], CONVERSION)


def _identity(source: Path) -> list[object]:
    """Return what tells a model from another one: its place, its size, when it was written."""
    path = source / "model.safetensors" if source.is_dir() else source.with_suffix(".bin")
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
