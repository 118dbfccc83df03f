"""The graph equals the numpy oracle for every shape of a GPT-2."""

from collections import Counter
from dataclasses import replace

import numpy as np
import openvino as ov
import pytest

from support import numpy_gpt2
from support.toy import Toy, assert_close, compiled

TOYS = {
    "plain": Toy(),
    "one layer, one head": Toy(n_layer=1, n_head=1, n_embd=7),
    "three layers, three heads": Toy(n_layer=3, n_head=3, n_embd=15, seed=1),
    "five heads of one": Toy(n_layer=5, n_head=5, n_embd=5, seed=2),
    "heads of 64": Toy(n_layer=1, n_head=2, n_embd=128, seed=3),
    "F16": Toy(dtype="F16"),
    "BF16": Toy(dtype="BF16"),
    "F16, prefixed, masks": Toy(dtype="F16", prefix="transformer.", masks=True, seed=4),
    "BF16, prefixed, untied": Toy(dtype="BF16", prefix="transformer.", tied=False, n_head=3, seed=5),
    "masks": Toy(masks=True, seed=6),
    "untied": Toy(tied=False, seed=7),
    "narrow MLP": Toy(n_inner=5, seed=8),
    "wide MLP": Toy(n_inner=101, seed=9),
    "GELU by erf": Toy(activation="gelu", seed=10),
    "GELU by tanh": Toy(activation="gelu_pytorch_tanh", seed=11),
    "large epsilon": Toy(epsilon=0.5, seed=12),
    "tiny epsilon": Toy(epsilon=1e-12, seed=13),
    "each layer's attention flatter": Toy(n_layer=3, inverse_layer=True, seed=16),
    "attention without a scale": Toy(unscaled=True, seed=17),
    "neither scale, F16": Toy(unscaled=True, inverse_layer=True, dtype="F16", seed=18),
    **{name: Toy(n_layer=1, activation=name, seed=19) for name in numpy_gpt2.ACTIVATIONS},
    "one position": Toy(n_positions=1, seed=14),
    "one token": Toy(vocab_size=1, seed=15),
}


@pytest.fixture(params=TOYS, ids=lambda name: name.replace(" ", "_"))
def toy(request) -> Toy:
    return TOYS[request.param]


def test_the_graph_computes_what_the_oracle_computes(toy, tmp_path):
    model = compiled(toy.model(tmp_path))
    rng = np.random.default_rng(toy.seed)
    for rows, length in ((1, 1), (3, 1), (1, toy.n_positions), (3, toy.n_positions), (2, (toy.n_positions + 1) // 2)):
        ids = rng.integers(0, toy.vocab_size, (rows, length))
        assert_close(model([ids])[0], np.stack([toy.logits(row) for row in ids]))


def test_positions_are_numbered_anew_in_each_call(tmp_path):
    toy = Toy()
    model = compiled(toy.model(tmp_path))
    for length in (16, 1, 5, 16):
        ids = np.arange(length)[None] + 3
        assert_close(model([ids])[0][0], toy.logits(ids[0]))


def test_a_later_token_changes_nothing_before_it(tmp_path):
    model = compiled(Toy().model(tmp_path))
    one = model([np.array([[5, 6, 7, 8]])])[0].copy()
    other = model([np.array([[5, 6, 7, 9]])])[0]
    np.testing.assert_array_equal(one[:, :3], other[:, :3])
    assert np.abs(one[:, 3] - other[:, 3]).max() > 0.1


def test_the_toys_tell_one_gelu_from_another_and_one_epsilon_from_another():
    """The oracle would not notice a wrong setting if these were equal."""
    ids = [1, 2, 3, 4]
    for changed in ({"activation": "gelu"}, {"epsilon": 1e-4}, {"inverse_layer": True}, {"unscaled": True}):
        difference = np.abs(Toy().logits(ids) - replace(Toy(), **changed).logits(ids)).max()
        assert difference > 2e-5 * np.abs(Toy().logits(ids)).max()


def test_input_and_output_are_the_contract(tmp_path):
    model = Toy().model(tmp_path)
    (ids,), (logits,) = model.inputs, model.outputs
    assert ids.get_names() == {"input"}
    assert ids.element_type == ov.Type.i64
    assert ids.partial_shape == ov.PartialShape([-1, ov.Dimension(1, 16)])
    assert logits.get_names() == {"output"}
    assert logits.element_type == ov.Type.f32
    assert logits.partial_shape == ov.PartialShape([-1, -1, 300])
    assert model.get_friendly_name() == "gpt2"


@pytest.mark.parametrize("length", [0, 17])
def test_a_length_out_of_bounds_is_refused_by_the_runtime(tmp_path, length):
    model = compiled(Toy().model(tmp_path))
    with pytest.raises(RuntimeError, match="incompatible"):
        model([np.zeros((1, length), np.int64)])


def test_the_model_keeps_no_state_between_calls(tmp_path):
    model = Toy().model(tmp_path)
    assert not model.get_variables()
    compiled_model = compiled(model)
    ids = np.array([[1, 2, 3]])
    first = compiled_model([ids])[0].copy()
    compiled_model([ids + 1])
    np.testing.assert_array_equal(compiled_model([ids])[0], first)


def test_each_block_has_one_attention_op_and_the_tied_head_no_copy_of_the_embedding(tmp_path):
    toy = Toy(n_layer=3)
    ops = toy.model(tmp_path).get_ordered_ops()
    kinds = Counter(op.get_type_name() for op in ops)
    assert kinds["ScaledDotProductAttention"] == 3
    tables = [op for op in ops if op.get_type_name() == "Constant" and list(op.get_output_shape(0)) == [300, 12]]
    assert len(tables) == 1


def test_the_constants_carry_their_published_names(tmp_path):
    toy = Toy(tied=False)
    names = {op.get_friendly_name() for op in toy.model(tmp_path).get_ordered_ops()}
    assert toy.state.keys() <= names


def test_every_op_has_a_name_of_its_own(tmp_path):
    names = Counter(op.get_friendly_name() for op in Toy(n_layer=3).model(tmp_path).get_ordered_ops())
    assert [name for name, count in names.items() if count > 1] == []
