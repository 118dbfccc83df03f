"""A peer of the benchmark for tests: pinned to a wheel made on the spot, its module beside the real runner."""

import shutil
import zipfile
from pathlib import Path

from gpt2_tools.benchmark.peers.peers import RUNNERS, Peer

MODULE = """
import importlib
import sys
import time

PACKAGES = ("fake_engine",)


def prepare(checkpoint, variant, target):
    if variant == "unconvertible":
        raise ValueError("that is no checkpoint")
    target.mkdir()
    (target / "model").write_text((checkpoint / "config.json").read_text())


def load(target, variant, threads):
    engine = importlib.import_module("fake_engine")
    print("a library says this on stdout")
    if variant == "unloadable":
        raise MemoryError("no room")

    def generate(prompts, new_tokens):
        if variant == "single" and len(prompts) > 1:
            raise NotImplementedError("one prompt at a time")
        if variant == "dying" and new_tokens == 1:
            sys.exit("could not go on")
        if variant == "short":
            return 1.0, 0.25, [[1] for _ in prompts]
        print("and this")
        time.sleep(0.002)
        return engine.SECONDS, engine.SECONDS / 4, [[1] * new_tokens for _ in prompts]

    return generate, {"inference": "f32", "cache": "f16"}
"""


def fake_peer(folder: Path, variants: dict[str, str], pinned: str = "fake_engine==1.0", name: str = "fake") -> Peer:
    """Return a peer that runs fake_engine, which is installed from a wheel in the folder, without any index."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_wheel(folder)
    shutil.copy(RUNNERS / "runner.py", folder)
    (folder / f"run_{name}.py").write_text(MODULE, encoding="utf-8")
    requirements = f"--no-index\n--find-links .\n{pinned}\n"  # beside the file: the same text wherever it is
    (folder / f"{name}.txt").write_text(requirements, encoding="utf-8")
    return Peer(name, variants, folder=folder)


def _write_wheel(folder: Path) -> None:
    facts = "fake_engine-1.0.dist-info"
    with zipfile.ZipFile(folder / "fake_engine-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("fake_engine.py", "SECONDS = 2.0\n")
        wheel.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: fake_engine\nVersion: 1.0\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", f"fake_engine.py,,\n{facts}/METADATA,,\n{facts}/WHEEL,,\n{facts}/RECORD,,\n")
