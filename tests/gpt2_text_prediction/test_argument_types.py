"""argument_types: a value of a wrong type is a Problem that names the argument, before anything is loaded or drawn."""

from pathlib import Path
from typing import Any

import pytest

from gpt2_text_prediction import Beams, Problem, Sampling, TextGenerator, TextRules
from gpt2_text_prediction.argument_types import EXPECTED, require_arguments
from support.toy import ONE_THREAD, Toy


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no text")


WRONG: list[Any] = [5, 1.5, b"x", [1], {}, Unprintable(), 10**5000, Beams()]
RIGHT: dict[str, list[Any]] = {
    "model": ["x.xml", Path("x.xml")],
    "precision": ["FP16", None],
    "vocab": ["vocab.json", None],
    "merges": [Path("merges.txt"), None],
    "device": ["CPU"],
    "precision_hint": ["auto", "f32", "bf16", "f16", "device"],
    "num_threads": [1, 64, None],
    "config": [{}, {"KEY": 1}, {"CACHE_DIR": Path("cache")}, None],
    "max_seq_len": [5, 10**5000, None],  # what it may be, the model says
    "back_end": ["paged", "stateful", "static", None],
    "cache_budget": [0, 1 << 40, None],
    "prompt_lookup": [True, False, None],
    "max_num_seqs": [1, 64, None],
    "max_waiting_callers": [0, 5],
    "prefill_chunk": [1, 1024],
    "use_generation_config": [True, False],
    "add_start_token": [True, False],
    "logprobs": [0, 5, None],
    "prompt_logprobs": [0, 5, None],
    "max_time": [0, 1.5, None],
    "timeout": [0, 1.5],
    "on_progress": [print, None],
    "index": [(0, 1), [3, 4]],
    "clock": [float],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_argument_is_of_its_type(name):
    for value in RIGHT[name]:
        require_arguments(**{name: value})
    right = [value for value in RIGHT[name] if not isinstance(value, type)]
    for value in WRONG:
        if value in right or type(value) in map(type, right):
            continue
        with pytest.raises(Problem) as caught:
            require_arguments(**{name: value})
        assert str(caught.value).startswith(f"{name}: expected {EXPECTED[name][0]}, got {type(value).__name__}: ")
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "argument",
    [
        {"device": None},
        {"back_end": "page"},
        {"prompt_lookup": "no"},
        {"precision_hint": "f64"},
        {"num_threads": 0},
        {"max_waiting_callers": -1},
        {"max_num_seqs": 0},
        {"prefill_chunk": 0},
        {"max_time": -0.1},
        {"timeout": float("inf")},
        {"logprobs": True},
        {"cache_budget": 1 << 63},
        {"config": {1: 2}},
        {"config": {"CACHE_DIR": 5}},
        {"index": (0,)},
        {"index": (0, -1)},
        {"index": (0, True)},
    ],
)
def test_values_that_are_none_of_the_argument(argument):
    with pytest.raises(Problem, match=rf"^{next(iter(argument))}: expected "):
        require_arguments(**argument)


def test_the_generator_checks_its_arguments(tmp_path):
    with pytest.raises(Problem, match=r"^model: expected a name or a path, got NoneType: None$"):
        TextGenerator(None)
    ir = Toy(n_layer=1).ir(tmp_path)
    with pytest.raises(Problem, match=r"^back_end: expected one of paged, stateful, static, or None, got str: 'page'$"):
        TextGenerator(ir, back_end="page")
    with TextGenerator(ir, config=ONE_THREAD) as generator:
        for call, message in [
            (lambda: generator.score("a", add_start_token=1), "add_start_token: expected True or False, got int: 1"),
            (
                lambda: generator.stream("a", index=5),
                "index: expected (prompt, sample), two whole numbers from 0, got int: 5",
            ),
            (lambda: generator.stream("a", {}), "sampling: expected a Sampling or Beams, got dict: {}"),
            (lambda: generator.generate(["a"], 0), "sampling: expected a Sampling or Beams, got int: 0"),
            (lambda: generator.generate(["a"], rules={}), "rules: expected a TextRules, got dict: {}"),
            (lambda: generator.stream("a", Beams()), "num_beams: beams have no text before their end: call generate"),
            (lambda: generator.generate(["a", None]), "prompt 2: expected a text or token ids, got NoneType: None"),
            (lambda: generator.beam_search("a", Sampling()), "expected a Beams, got Sampling: Sampling("),
            (lambda: generator.beam_search("a", rules=[]), "rules: expected a TextRules, got list: []"),
            (lambda: generator.beam_search("a", TextRules()), "expected a Beams, got TextRules: TextRules("),
        ]:
            with pytest.raises(Problem) as caught:
                call()
            assert str(caught.value).startswith(message)
