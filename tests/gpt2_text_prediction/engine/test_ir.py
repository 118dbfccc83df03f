"""ir: files that are whole, a model of the right kind, and its facts."""

import os
from functools import partial

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from gpt2_text_prediction import Problem
from gpt2_text_prediction.engine.ir import last_line, read_ir
from support.refusal import refused
from support.toy import Toy, save

TOY = Toy(n_layer=1, vocab_size=11, n_positions=8)


@pytest.fixture
def path(tmp_path):
    return TOY.ir(tmp_path)


refusal = partial(refused, Problem, lambda path: read_ir(ov.Core(), path), begins=lambda path: path.with_suffix(""))


def with_facts(tmp_path, **facts):
    """Read the toy back with other facts, or none for None."""
    model = TOY.model(tmp_path)
    bare = ov.Model(model.get_results(), model.get_parameters(), "bare")
    for name, fact in facts.items():
        bare.set_rt_info(fact, ["omz_gpt2", name])
    return read_ir(ov.Core(), save(bare, tmp_path / "bare.xml"))


def test_an_ir_of_ours_tells_its_facts(path):
    ir = read_ir(ov.Core(), path)
    assert (ir.path, ir.n_positions, ir.vocab_size, ir.eos_token_ids) == (path, 8, 11, (10,))
    assert ir.model.input(0).get_any_name() == "input"


def test_a_foreign_ir_tells_what_its_shapes_tell(tmp_path):
    ir = with_facts(tmp_path)
    assert (ir.n_positions, ir.vocab_size, ir.eos_token_ids) == (8, 11, ())


def unbounded(tmp_path) -> ov.Model:
    """The toy as another converter would leave it: without facts, its input [?,?]."""
    model = TOY.model(tmp_path / "checkpoint")
    free = ops.parameter([-1, -1], np.int64, name="input")
    model.get_parameters()[0].output(0).replace(free.output(0))
    return ov.Model(model.get_results(), [free], "foreign")


def test_a_model_not_bounded_by_shape_or_facts_has_no_known_positions(tmp_path):
    foreign = unbounded(tmp_path)
    assert read_ir(ov.Core(), save(foreign, tmp_path / "foreign.xml")).n_positions is None
    foreign.set_rt_info("8", ["omz_gpt2", "n_positions"])
    assert read_ir(ov.Core(), save(foreign, tmp_path / "ours.xml")).n_positions == 8


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        (b'{"n_positions": 8}', 8),
        (b'{"n_positions": 8, "max_position_embeddings": 7}', 7),
        *[
            (wrong, None)
            for wrong in (b'{"n_positions": "8"}', b'{"n_positions": true}', b"{}", b"[8]", b"\xff", b"[" * 9999)
        ],
    ],
)
def test_the_config_beside_a_model_that_does_not_say_its_positions_does(tmp_path, config, positions):
    """Open Model Zoo's gpt-2 has the input [?,?], and its config.json is copied beside the IR."""
    path = save(unbounded(tmp_path), tmp_path / "foreign.xml")
    (tmp_path / "config.json").write_bytes(config)
    assert read_ir(ov.Core(), path).n_positions == positions
    assert with_facts(tmp_path).n_positions == 8


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_beside_a_model_is_not_waited_for(tmp_path):
    path = save(unbounded(tmp_path), tmp_path / "foreign.xml")
    (tmp_path / "config.json").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "config.json")
    assert read_ir(ov.Core(), path).n_positions is None


@pytest.mark.parametrize("toy", [TOY, Toy(n_layer=1, n_embd=12, vocab_size=300), Toy(n_layer=1, tied=False)])
def test_hidden_states_are_no_logits(tmp_path, toy):
    """The ONNX Model Zoo's gpt2-10 ends before the head, and so does transformers' GPT2Model."""
    model = toy.model(tmp_path)
    head = model.get_results()[0].input_value(0).get_node()
    hidden = ov.Model([head.input_value(0)], model.get_parameters(), "hidden")
    path = save(hidden, tmp_path / "hidden.xml")
    with pytest.raises(Problem) as caught:
        read_ir(ov.Core(), path)
    assert str(caught.value) == (
        f"{path}: has no LM head: its output is hidden states of 12 values, not logits of {toy.vocab_size} tokens; "
        "convert the model with its head, such as GPT2LMHeadModel"
    )


def test_as_many_tokens_as_values_are_logits(tmp_path):
    toy = Toy(n_layer=1, n_embd=12, vocab_size=12, n_positions=8)
    assert read_ir(ov.Core(), toy.ir(tmp_path)).vocab_size == 12


@pytest.mark.parametrize("fact", ["", "many", "-8", "8.0", "0x8", "1e3", "0", "NaN", "²", " ", "8 8"])
def test_facts_that_are_nonsense_are_as_if_they_were_missing(tmp_path, fact):
    ir = with_facts(tmp_path, n_positions=fact, eos_token_id="none" if fact == "0" else fact)
    assert (ir.n_positions, ir.eos_token_ids) == (8, ())


def test_a_fact_of_five_thousand_digits_is_nonsense(tmp_path):
    assert with_facts(tmp_path, n_positions="9" * 5000).n_positions == 8


@pytest.mark.parametrize(("name", "fact"), [("n_positions", "9"), ("n_positions", "1" + "0" * 30)])
def test_more_positions_than_the_input_takes_are_nonsense(tmp_path, name, fact):
    assert with_facts(tmp_path, **{name: fact}).n_positions == 8


def test_an_end_of_text_past_the_vocabulary_is_nonsense(tmp_path):
    assert with_facts(tmp_path, eos_token_id="11").eos_token_ids == ()


def test_a_section_that_is_a_plain_value_is_nonsense(tmp_path):
    model = TOY.model(tmp_path)
    bare = ov.Model(model.get_results(), model.get_parameters(), "bare")
    bare.set_rt_info("surprise", ["omz_gpt2"])
    assert read_ir(ov.Core(), save(bare, tmp_path / "bare.xml")).n_positions == 8


def test_a_missing_model_is_named(tmp_path):
    message = refusal(tmp_path / "gpt-2.xml")
    assert message.startswith(f"{tmp_path / 'gpt-2.xml'}: there is no such model file")
    assert "omz_converter" in message


def test_a_folder_is_no_model(tmp_path):
    assert "is a folder; expected an .xml" in refusal(tmp_path)


def test_missing_weights_are_named(path):
    path.with_suffix(".bin").unlink()
    assert refusal(path).startswith(f"{path.with_suffix('.bin')}: there is no such file")


@pytest.mark.parametrize("change", [-1, -100, +1, None], ids=str)
def test_weights_of_another_size_are_refused_with_both_sizes(path, change):
    weights = path.with_suffix(".bin")
    raw = weights.read_bytes()
    weights.write_bytes(b"" if change is None else raw[:change] if change < 0 else raw + bytes(change))
    message = refusal(path)
    assert f"expected {len(raw)} bytes" in message
    assert f"got {weights.stat().st_size}" in message


@pytest.mark.parametrize(
    "raw", [b"", b"no xml", b"<net", b"<html></html>", b"\xff\xfe\0", b"<?xml version='1.0'?><net/>"]
)
def test_an_xml_that_is_no_model_is_refused(tmp_path, raw):
    path = tmp_path / "x.xml"
    path.write_bytes(raw)
    path.with_suffix(".bin").write_bytes(b"")
    assert str(path) in refusal(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_an_xml_cut_short_is_refused(path, keep):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    assert str(path.parent) in refusal(path)


@pytest.mark.parametrize("suffix", [".onnx", ".txt", ""])
def test_a_file_of_another_kind_is_refused(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"not a model of any kind")
    assert str(path) in refusal(path)


def simple(inputs: list, build) -> ov.Model:
    parameters = [ops.parameter(ov.PartialShape(shape), dtype, name=f"x{n}") for n, (shape, dtype) in enumerate(inputs)]
    results = build(*parameters)
    return ov.Model([ops.result(r) for r in (results if isinstance(results, list) else [results])], parameters, "odd")


def one_hot(ids, depth=5):
    return ops.one_hot(ids, ops.constant(np.int64(depth)), ops.constant(np.float32(1)), ops.constant(np.float32(0)), -1)


KINDS = {
    "two inputs": simple([([-1, -1], np.int64), ([-1, -1], np.int64)], lambda a, b: one_hot(ops.add(a, b))),
    "two outputs": simple([([-1, -1], np.int64)], lambda a: [one_hot(a), ops.convert(a, "f32")]),
    "no input": simple([], lambda: ops.constant(np.zeros((1, 1, 5), np.float32))),
    "pictures": simple([([1, 3, 8, 8], np.float32)], ops.relu),
    "two sequences at once": simple([([-1, 2, -1], np.int64)], one_hot),
    "ids of rank 4": simple([([-1, 1, 1, -1], np.int64)], one_hot),
    "hidden states before the logits": simple([([-1, 1, -1], np.int64)], lambda a: [ops.convert(a, "f32"), one_hot(a)]),
    "ids of rank 1": simple([([-1], np.int64)], one_hot),
    "ids of unknown rank": simple([("...", np.int64)], one_hot),
    "fractional ids": simple([([-1, -1], np.float32)], lambda a: one_hot(ops.convert(a, "i64"))),
    "whole logits": simple([([-1, -1], np.int64)], lambda a: ops.convert(one_hot(a), "i64")),
    "logits of rank 2": simple([([-1, -1], np.int64)], lambda a: ops.convert(a, "f32")),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda name: name.replace(" ", "_"))
def test_a_model_of_another_kind_is_refused(tmp_path, kind):
    path = save(KINDS[kind], tmp_path / "odd.xml")
    message = refusal(path)
    assert message.startswith(f"{path}: expected ")
    assert "got" in message


@pytest.mark.parametrize("shape", [[-1, 1, -1], [-1, -1, ov.Dimension(1, 7)], [1, 1, 7]], ids=str)
def test_ids_and_outputs_as_the_onnx_model_zoo_has_them(tmp_path, shape):
    model = simple([(shape, np.int64)], lambda a: [one_hot(a), ops.convert(a, "f32")])
    ir = read_ir(ov.Core(), save(model, tmp_path / "zoo.xml"))
    assert (ir.n_positions, ir.vocab_size) == (None if shape[2] == -1 else 7, 5)


def test_a_vocabulary_of_unknown_size_is_refused(tmp_path):
    model = simple(
        [([-1, -1], np.int64)],
        lambda a: ops.unsqueeze(ops.convert(a, "f32"), ops.constant(np.int64(1))),
    )
    assert "expected token ids" in refusal(save(model, tmp_path / "odd.xml"))


def test_an_ir_with_int32_ids_is_a_language_model(tmp_path):
    model = simple([([-1, ov.Dimension(1, 7)], np.int32)], one_hot)
    ir = read_ir(ov.Core(), save(model, tmp_path / "x.xml"))
    assert (ir.n_positions, ir.vocab_size) == (7, 5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Exception from core.cpp:1:\nCheck 'a' failed\n  the reason \n\n", "the reason"),
        ("one line", "one line"),
        ("", "RuntimeError"),
        ("\n \n", "RuntimeError"),
    ],
)
def test_of_a_runtime_error_the_last_line_is_what_it_says(text, line):
    assert last_line(RuntimeError(text)) == line
