"""Tests of omz_model_tools.quantize.nncf; what it makes of a model is in test_quantizer."""

import sys

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.quantize.nncf import load_compress


def test_without_nncf_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(Problem, match=r"^nncf: is not installed; run: pip install 'omz-gpt2\[quantize\]'$"):
        load_compress()
