"""A path that is no plain file is refused before it is read."""

import os

import pytest

import gpt2_recipe
from support.toy import Toy


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    Toy(seed=1).write(tmp_path)
    if name.endswith("index.json"):
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(gpt2_recipe.Problem, match=f"{name}: cannot be read: expected a file, got a pipe or device"):
        gpt2_recipe.convert(tmp_path)
