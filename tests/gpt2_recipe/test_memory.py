"""Available memory, what is refused for lack of it; and that F32 weights are streamed, not copied."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gpt2_recipe import Problem
from gpt2_recipe.memory import available_memory, check_memory
from gpt2_recipe.weights import widened_bytes
from support.toy import Toy, load_weights


def test_what_the_system_says(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   7 kB\nSwapFree: 2 kB\nHugePages_Total:       0\n")
    assert available_memory(meminfo) == 9 * 1024


@pytest.mark.parametrize("text", ["", "MemAvailable: 7 kB\n", "no colon\n", "MemAvailable: x\nSwapFree: 1\n"])
def test_a_system_that_does_not_say(tmp_path, text):
    (tmp_path / "meminfo").write_text(text)
    assert available_memory(tmp_path / "meminfo") is None
    assert available_memory(tmp_path / "missing") is None


def test_too_little_is_said_with_both_numbers():
    check_memory(Path("x"), 10**10, lambda: None)
    check_memory(Path("x"), 10**10, lambda: 10**10)
    with pytest.raises(Problem) as caught:
        check_memory(Path("x.bin"), 6_230_000_000, lambda: 4_100_000_000)
    assert str(caught.value) == (
        "x.bin: converting it needs 6.2 GB of memory, and 4.1 GB are available; "
        "end other programs, or save it as F32 in model.safetensors, which is not copied"
    )


@pytest.mark.parametrize(("dtype", "expected"), [("F32", 0), ("F16", 4), ("BF16", 4)])
def test_only_what_is_widened_needs_memory(tmp_path, dtype, expected):
    toy = Toy(dtype=dtype)
    folder = toy.write(tmp_path)
    weights = load_weights(folder)
    assert widened_bytes(weights) == expected * sum(values.size for values in toy.state.values())


SAVE = textwrap.dedent(
    """
    import sys; from pathlib import Path; import openvino, gpt2_recipe
    gpt2_recipe.convert(Path(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    openvino.save_model(gpt2_recipe.convert(Path(sys.argv[2])).model, sys.argv[3], compress_to_fp16=True)
    """
)


def private_bytes(process: subprocess.Popen) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended


@pytest.mark.skipif(sys.platform != "linux", reason="measures private memory by /proc")
def test_weights_are_streamed_in_a_fraction_of_the_irs_size(tmp_path):
    small = Toy().write(tmp_path / "small")
    big = Toy(n_layer=20, n_head=4, n_embd=256, n_positions=32).write(tmp_path / "big")
    command = [sys.executable, "-c", SAVE, str(small), str(big), str(tmp_path / "big.xml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"ready\n"
        before = peak = private_bytes(process)
        process.stdin.write(b"\n")
        process.stdin.flush()
        while process.poll() is None:
            peak = max(peak, private_bytes(process))
            time.sleep(0.001)
    assert process.returncode == 0
    size = (tmp_path / "big.bin").stat().st_size
    assert size > 30_000_000
    assert peak - before < size / 2
