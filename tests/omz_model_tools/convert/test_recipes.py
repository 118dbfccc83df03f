"""Recipes are found by the name of their entry point, or refused with the installed names."""

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.convert.recipes import load_recipe


def test_the_installed_recipe() -> None:
    recipe = load_recipe("gpt2")
    assert recipe.__name__ == "gpt2_recipe"  # type: ignore[attr-defined]
    assert callable(recipe.convert)
    assert issubclass(recipe.Problem, Exception)


def test_a_recipe_that_is_not_installed() -> None:
    with pytest.raises(Problem) as caught:
        load_recipe("gpt3")
    assert str(caught.value) == "\"recipe\": expected one that is installed (gpt2), got 'gpt3'"
