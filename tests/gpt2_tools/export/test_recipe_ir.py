"""An IR tells the configuration that it was built from."""

from dataclasses import asdict, replace

import pytest

import gpt2_recipe
from gpt2_tools.export.recipe_ir import read_recipe_ir
from support import numpy_gpt2
from support.toy import Toy


@pytest.mark.parametrize("activation", numpy_gpt2.ACTIVATIONS)
def test_every_activation_comes_back(tmp_path, activation):
    toy = Toy(n_layer=1, activation=activation, n_inner=20, epsilon=1e-3)
    found = read_recipe_ir(toy.ir(tmp_path)).config
    expected = gpt2_recipe.read_config(tmp_path / "config.json")
    if activation in gpt2_recipe.ACTIVATIONS:  # several names of one
        assert gpt2_recipe.ACTIVATIONS[found.activation_function] == gpt2_recipe.ACTIVATIONS[activation]
        found = replace(found, activation_function=activation)
    found = replace(found, eos_token_ids=expected.eos_token_ids, bos_token_ids=expected.bos_token_ids)
    assert asdict(found) == asdict(expected)
