"""The demo and the converter as whole processes: their time and peak memory."""

import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from gpt2_text_prediction.engine import DeviceConfig
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.benchmark.processes.process import run_process

PROMPT = "The poem was written by"
DEMO_TOKENS = 40


def process_figures(
    model: Path, config: DeviceConfig, repeats: Repeats, say: Callable[[str], None]
) -> dict[str, Figure]:
    """Measure the demo, and the converter if the IR is in Open Model Zoo's folders."""
    demo = [*demo_command(model, config), "--seed", "0", "-i", PROMPT, "--max_sample_token_num", str(DEMO_TOKENS)]
    figures = _repeated(f"demo, {DEMO_TOKENS} tokens, whole process", demo, repeats)
    name, root = model.stem, model.resolve().parents[3:4]
    if not root or model.resolve().parts[-4:-2] != ("public", name):
        say(f"omz_converter is not measured: {model} is not in public/{name}/FP16")
        return figures
    with tempfile.TemporaryDirectory(dir=root[0]) as out:
        convert = [installed_command("omz_converter"), "--name", name, "--precisions", "FP16"]
        convert += ["-d", str(root[0]), "-o", out]
        return figures | _repeated("omz_converter FP16, whole process", convert, repeats)


def demo_command(model: Path, config: DeviceConfig) -> list[str]:
    """Return the demo's command, with a model and its device."""
    command = [installed_command("gpt2_text_prediction_demo"), "-m", str(model), "-d", config.device]
    command += ["--precision_hint", config.precision_hint]
    if config.num_threads is not None:
        command += ["-nthreads", str(config.num_threads)]
    return command


def installed_command(name: str) -> str:
    """Return the path of a command of ours, installed with this package."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def _repeated(name: str, command: list[str], repeats: Repeats) -> dict[str, Figure]:
    runs = repeats.of(lambda: run_process(command))
    figures = {name: Figure("s", tuple(run.seconds for run in runs))}
    peaks = tuple(run.peak_mb for run in runs if run.peak_mb is not None)
    return figures | ({f"{name}, peak memory": Figure("MB", peaks)} if peaks else {})
