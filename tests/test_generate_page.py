"""docs/generate.md: every command on it is run, and prints what the page shows."""

import os
import re
import shutil
import subprocess

import pytest

from support import HANGS_AFTER, ROOT
from support.command import COMMANDS

PAGE = ROOT / "docs/generate.md"
IN_F32 = """gpt2_text_prediction_demo() { command gpt2_text_prediction_demo --precision_hint f32 "$@"; }
"""
"""So that the page's texts are the same on a CPU where others would be chosen."""
EXAMPLES = re.findall(r"^```console\n\$ (.+)\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), flags=re.M)


def test_the_page_has_examples():
    assert len(EXAMPLES) > 10


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page's commands are for a shell")
@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_the_page_shows(mini_ir, tmp_path, command, output):
    environment = {**os.environ, "MODEL": str(mini_ir), "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", IN_F32 + command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=HANGS_AFTER,
        check=False,
    )
    assert done.stdout.decode().rstrip("\n") == output.rstrip("\n")
