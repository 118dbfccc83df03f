"""arithmetic: which are measured, their speeds by hand, and the figures of a real model."""

import pytest

from gpt2_text_prediction.engine import Arithmetic, DeviceConfig
from gpt2_tools.benchmark.engine import arithmetic
from gpt2_tools.benchmark.engine.arithmetic import Use, arithmetic_figures, candidates
from gpt2_tools.benchmark.engine.engine import Generated
from gpt2_tools.benchmark.figures import Repeats
from gpt2_tools.common.problem import Problem
from support.toy import Toy

F32, BF16 = Arithmetic("f32"), Arithmetic("bf16", "bf16")


def test_bf16_is_measured_where_the_cpu_has_it_and_groups_of_quantized_weights():
    assert list(candidates(False, False)) == [F32]
    assert list(candidates(False, True)) == [F32, BF16]
    groups = [Arithmetic("f32", "f16", group) for group in (32, 64, 128)]
    assert list(candidates(True, False)) == groups
    assert list(candidates(True, True)) == groups + [Arithmetic("bf16", "bf16", group) for group in (32, 64, 128)]


@pytest.mark.parametrize(
    ("use", "times", "speed"),
    [(Use(1, 12, 1), [0.5], 24.0), (Use(2, 6, 1), [0.5], 24.0), (Use(3, 6, 5), [9.0, 1.0, 0.5, 0.25, 0.25], 6.0)],
)
def test_the_speed_of_a_prompt_is_of_its_tokens_and_else_of_those_after_the_first(use, times, speed):
    class Bench:
        def generate(self, prompt_tokens: int, new_tokens: int, rows: int) -> Generated:
            assert (rows, prompt_tokens, new_tokens) == use
            return Generated(times, [])

    assert arithmetic._speed(Bench(), use) == speed


def test_a_real_model_has_a_figure_of_each_use_and_its_base(monkeypatch, mini_ir):
    monkeypatch.setattr(arithmetic, "USES", (Use(1, 24, 1), Use(2, 4, 3)))
    monkeypatch.setattr(arithmetic, "has_bf16", lambda core: True)
    said = []
    figures, settings = arithmetic_figures(mini_ir, DeviceConfig(num_threads=1), Repeats(0, 2), said.append)
    assert {name: (figure.unit, len(figure.values)) for name, figure in figures.items()} == {
        "prompt of 24, f32, cache f16": ("tokens/s", 2),
        "prompt of 24, bf16, cache bf16": ("x", 2),
        "2 x 3 tokens, f32, cache f16": ("tokens/s", 2),
        "2 x 3 tokens, bf16, cache bf16": ("x", 2),
    }
    assert all(value > 0 for figure in figures.values() for value in figure.values)
    assert settings == {"threads": "1", "has_bf16": True, "is_quantized": False, "weights_group": None}
    assert said[0] == "f32, cache f16: loading ..."


def test_what_is_emulated_is_left_out_and_said(monkeypatch, mini_ir):
    monkeypatch.setattr(arithmetic, "USES", (Use(1, 4, 1),))
    monkeypatch.setattr(arithmetic, "has_bf16", lambda core: False)
    said = []
    arithmetic_figures(mini_ir, DeviceConfig(), Repeats(0, 1), said.append)
    assert said[:2] == [
        "bf16 is not measured: this CPU has no instructions for it and would emulate them",
        "f32, cache f16: loading ...",
    ]


def test_a_short_model_is_refused_before_it_is_compiled(tmp_path):
    said = []
    with pytest.raises(Problem, match=r"^--arithmetic: expected a model of at least 961 positions, got 16$"):
        arithmetic_figures(Toy().ir(tmp_path), DeviceConfig(), Repeats(0, 1), said.append)
    assert said == []
