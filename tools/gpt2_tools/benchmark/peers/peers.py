"""The other engines of the speed table: their variants, and how each gets its environment, model and process."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpt2_text_prediction import Problem
from gpt2_text_prediction.engine import DeviceConfig, checksum, user_cache
from gpt2_tools.benchmark.peers.environments import Say, complete_once, foreign, provide_environment
from gpt2_tools.common.json_process import JsonProcess, PeerFailed, run_to_end

LLAMA_CPP = "COMMON TESTS TOOLS EXAMPLES SERVER APP"
"""Parts of llama.cpp that are not built: all but its library, which alone takes minutes."""


OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Environment variables of the peers: they load local files only."""
CONVERSION = 900.0
"""Timeout of a conversion in seconds."""


RUNNERS = Path(__file__).with_name("runners")


@dataclass(frozen=True)
class Peer:
    """Another engine that generates with the same weights.

    variants: each with the precision of our IR that it is compared with. emulated: those that a CPU without bf16 can
    only emulate. exported: it runs what gpt2_export makes of
    our IR. variables: environment variables of its installation. folder: that of its pinned requirements, its module
    and runner.py.
    """

    name: str
    variants: Mapping[str, str]
    exported: bool = False
    emulated: frozenset[str] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path = RUNNERS

    @property
    def module(self) -> str:
        """The module beside runner.py."""
        return "run_" + self.name.replace("-", "_").replace(".", "_")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("transformers", {"f32": "FP16", "bf16": "FP16"}, emulated=frozenset({"bf16"})),
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
class RunSettings:
    """How peers are run: their threads, the timeout of an answer in seconds, and where progress is printed."""

    threads: int
    patience: float
    say: Say


def provide_runner(peer: Peer, cache: Path, run: RunSettings) -> list[str]:
    """Return the command of a peer in its environment, which is created if it does not exist. Raises PeerFailed."""
    python = provide_environment(peer.name, peer.folder / f"{peer.name}.txt", cache, peer.variables, run.say)
    return [str(python), str(peer.folder / "runner.py")]


def start_peer(
    peer: Peer, variant: str, weights: Weights, cache: Path, runner: list[str], run: RunSettings
) -> JsonProcess:
    """Start a peer with its form of the weights, which is converted if it does not exist. Raises PeerFailed."""
    model = _provide_model(peer, variant, weights, cache, runner, run)
    run.say(f"{peer.name} {variant}: loading ...")
    command = [*runner, "serve", peer.module, variant, str(model), str(run.threads)]
    return JsonProcess(command, run.patience, foreign(OFFLINE))


def start_ours(ir: Path, engine: DeviceConfig, run: RunSettings) -> JsonProcess:
    """Start our own engine. Raises PeerFailed."""
    arguments = [str(ir), engine.device, engine.precision_hint, str(run.threads)]
    return JsonProcess([sys.executable, "-m", "gpt2_tools.benchmark.peers.ours", *arguments], run.patience)


def _provide_model(
    peer: Peer, variant: str, weights: Weights, cache: Path, runner: list[str], run: RunSettings
) -> Path:
    """Return a peer's form of the weights, which is converted once."""
    source = weights.irs[variant] if peer.exported else weights.checkpoint
    key = json.dumps([_content(source), peer.name, variant, runner[0], _converter(peer)])
    target = cache / "models" / f"{peer.name}-{variant}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
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
    folders = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    command = shutil.which("gpt2_export", path=folders)
    if command is None:
        raise PeerFailed("gpt2_export, which exports its model, is not installed")
    run_to_end([command, "-m", str(source), "-o", str(target)], CONVERSION)


def _content(source: Path) -> dict[str, str]:
    """Return the checksums of all that a conversion may read: the files of the checkpoint's or the IR's folder."""
    folder = source if source.is_dir() else source.parent
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        cache = user_cache()
        return {path.name: checksum(path, cache) for path in files}
    except (OSError, Problem) as error:
        raise PeerFailed(f"{source}: cannot be read: {error}") from None


def _converter(peer: Peer) -> list[str]:
    """Return what converts a peer's models: its own module, or gpt2_export with the OpenVINO that it runs on."""
    if not peer.exported:
        return [checksum(peer.folder / name) for name in (f"{peer.module}.py", "runner.py")]
    return [f"{package} {importlib.metadata.version(package)}" for package in ("omz-gpt2", "openvino")]
