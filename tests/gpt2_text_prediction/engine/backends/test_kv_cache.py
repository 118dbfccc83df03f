"""kv_cache: the stateful model has its exact interface, is fused, and computes the same."""

from collections import Counter

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from gpt2_text_prediction.engine.backends.kv_cache import NoCachePossible, with_kv_cache, with_logits_indices
from support.toy import EXACT, Toy, assert_close, compiled, save, without_attention_ops

TOYS = {
    "plain": Toy(),
    "three layers of three heads": Toy(n_layer=3, n_head=3, n_embd=15, seed=1),
    "one head": Toy(n_layer=1, n_head=1, n_embd=7, seed=2),
    "heads of 64, untied": Toy(n_head=2, n_embd=128, tied=False, seed=3),
}


@pytest.fixture(params=TOYS, ids=lambda name: name.replace(" ", "_"))
def toy(request) -> Toy:
    return TOYS[request.param]


def attention_layers(model: ov.CompiledModel) -> dict[str, int]:
    """How many layers of each kind that has to do with attention the device runs."""
    kinds = Counter(op.get_rt_info()["layerType"].astype(str) for op in model.get_runtime_model().get_ops())
    return {kind: kinds[kind] for kind in ("ScaledDotProductAttention", "Softmax")}


def run(request, ids, *, mask=None, positions=None, beam_idx=None, **more):  # -> [B, L, V]
    ids = np.array(ids, np.int64)
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids) if mask is None else np.array(mask, np.int64),
        "position_ids": np.tile(np.arange(ids.shape[1]), (len(ids), 1)) if positions is None else np.array(positions),
        "beam_idx": np.arange(len(ids), dtype=np.int32) if beam_idx is None else np.array(beam_idx, np.int32),
    }
    return request.infer({**inputs, **more})["logits"].copy()


def stateful_request(toy, tmp_path) -> ov.InferRequest:
    return compiled(with_kv_cache(toy.model(tmp_path))).create_infer_request()


def test_the_interface_is_that_of_openvino_genai(toy, tmp_path):
    model = with_kv_cache(toy.model(tmp_path))
    assert [
        (p.get_names(), p.element_type.get_type_name(), p.partial_shape.rank.get_length()) for p in model.inputs
    ] == [
        ({"input_ids"}, "i64", 2),
        ({"attention_mask"}, "i64", 2),
        ({"position_ids"}, "i64", 2),
        ({"beam_idx"}, "i32", 1),
    ]
    assert [(p.get_names(), p.element_type.get_type_name()) for p in model.outputs] == [({"logits"}, "f32")]
    assert model.output(0).partial_shape.rank.get_length() == 3
    assert model.output(0).partial_shape[2].get_length() == toy.vocab_size


def test_friendly_names_are_those_of_the_tensors(toy, tmp_path):
    model = with_kv_cache(toy.model(tmp_path))
    names = [parameter.get_friendly_name() for parameter in model.get_parameters()]
    assert names == ["input_ids", "attention_mask", "position_ids", "beam_idx"]
    assert [result.get_friendly_name() for result in model.get_results()] == ["logits"]


def test_the_variables_have_the_names_and_shapes_that_openvino_genai_knows(toy, tmp_path):
    variables = {v.info.variable_id: v.info for v in with_kv_cache(toy.model(tmp_path)).get_variables()}
    expected = {
        f"past_key_values.{i}.{kind}present.{i}.{kind}" for i in range(toy.n_layer) for kind in ("key", "value")
    }
    assert variables.keys() == expected
    for info in variables.values():
        assert info.data_type == ov.Type.f32
        assert info.data_shape == ov.PartialShape([-1, toy.n_head, -1, toy.n_embd // toy.n_head])


@pytest.mark.parametrize("logits_indices", [False, True], ids=["all positions", "logits_indices"])
@pytest.mark.parametrize("config", [{}, EXACT], ids=["default", "exact"])
def test_attention_is_fused_with_its_cache(toy, tmp_path, logits_indices, config):
    model = with_kv_cache(toy.model(tmp_path))
    if logits_indices:
        with_logits_indices(model)
    layers = attention_layers(ov.Core().compile_model(model, "CPU", config))
    assert layers == {"ScaledDotProductAttention": toy.n_layer, "Softmax": 0}


def test_a_model_read_from_an_ir_is_given_its_cache_too(toy, tmp_path):
    model = compiled(with_kv_cache(ov.Core().read_model(toy.ir(tmp_path))))
    assert attention_layers(model) == {"ScaledDotProductAttention": toy.n_layer, "Softmax": 0}
    assert_close(run(model.create_infer_request(), [[5, 6, 7]])[0], toy.logits([5, 6, 7]))


def test_a_saved_stateful_model_is_the_same_model(toy, tmp_path):
    path = save(with_kv_cache(toy.model(tmp_path)), tmp_path / "stateful.xml")
    request = compiled(ov.Core().read_model(path)).create_infer_request()
    whole = toy.logits([5, 6, 7])
    assert_close(run(request, [[5, 6]])[0], whole[:2])
    assert_close(run(request, [[7]], mask=[[1, 1, 1]], positions=[[2]])[0], whole[2:])


def test_rt_info_is_kept(tmp_path):
    model = Toy().model(tmp_path)
    model.set_rt_info("kept", ["elsewhere", "deep", "fact"])
    stateful = with_kv_cache(model)
    assert str(stateful.get_rt_info(["omz_gpt2", "n_positions"]).value) == "16"
    assert str(stateful.get_rt_info(["omz_gpt2", "recipe"]).value) == "gpt2"
    assert str(stateful.get_rt_info(["elsewhere", "deep", "fact"]).value) == "kept"
    read = ov.Core().read_model(save(stateful, tmp_path / "stateful.xml"))
    assert read.get_rt_info(["omz_gpt2", "eos_token_ids"]).value == "299"


def test_token_by_token_and_in_chunks_equals_the_oracle(toy, tmp_path):
    request = stateful_request(toy, tmp_path)
    ids = np.random.default_rng(1).integers(0, toy.vocab_size, 16)
    for cuts in ([], [*range(1, 16)], [1], [15], [3, 4, 9]):
        request.reset_state()
        for start, stop in zip([0, *cuts], [*cuts, 16], strict=True):
            got = run(request, [ids[start:stop]], mask=np.ones((1, stop)), positions=[range(start, stop)])
            assert_close(got[0], toy.logits(ids)[start:stop])


def test_rows_padded_on_the_left_equal_their_rows_alone(toy, tmp_path):
    request = stateful_request(toy, tmp_path)
    got = run(
        request,
        [[0, 0, 5], [6, 7, 8], [0, 9, 10]],
        mask=[[0, 0, 1], [1, 1, 1], [0, 1, 1]],
        positions=[[0, 0, 0], [0, 1, 2], [0, 0, 1]],
    )
    assert_close(got[0, 2:], toy.logits([5]))
    assert_close(got[1], toy.logits([6, 7, 8]))
    assert_close(got[2, 1:], toy.logits([9, 10]))


def test_a_row_of_padding_alone_gives_numbers_and_disturbs_nobody(toy, tmp_path):
    request = stateful_request(toy, tmp_path)
    got = run(request, [[0, 0], [5, 6]], mask=[[0, 0], [1, 1]], positions=[[0, 0], [0, 1]])
    assert np.isfinite(got).all()
    assert_close(got[1], toy.logits([5, 6]))
    got = run(request, [[8], [7]], mask=[[0, 0, 1], [1, 1, 1]], positions=[[0], [2]])
    assert_close(got[0], toy.logits([8]))
    assert_close(got[1], toy.logits([5, 6, 7])[2:])


def test_a_token_sees_itself_even_where_the_mask_hides_it(toy, tmp_path):
    request = stateful_request(toy, tmp_path)
    got = run(request, [[5, 6, 7]], mask=[[0, 0, 0]], positions=[[0, 0, 0]])
    assert_close(got[0], np.vstack([toy.logits([token]) for token in (5, 6, 7)]))


def test_beam_idx_reorders_grows_and_shrinks_the_batch(toy, tmp_path):
    request = stateful_request(toy, tmp_path)
    run(request, [[5, 6], [7, 8]])
    got = run(request, [[1], [2], [3]], mask=np.ones((3, 3)), positions=[[2]] * 3, beam_idx=[1, 0, 1])
    for row, ids in zip(got, ([7, 8, 1], [5, 6, 2], [7, 8, 3]), strict=True):
        assert_close(row, toy.logits(ids)[2:])
    got = run(request, [[4]], mask=np.ones((1, 4)), positions=[[3]], beam_idx=[2])
    assert_close(got[0], toy.logits([7, 8, 3, 4])[3:])


def test_columns_hidden_by_the_mask_are_as_if_they_had_never_been(toy, tmp_path):
    request = stateful_request(toy, tmp_path)
    run(request, [[5, 6, 99, 98]])
    got = run(request, [[7]], mask=[[1, 1, 0, 0, 1]], positions=[[2]])
    assert_close(got[0], toy.logits([5, 6, 7])[2:])


@pytest.mark.parametrize("value", [1, -1, 255], ids=lambda value: f"shown by {value}")
def test_any_number_but_zero_shows_a_column(tmp_path, value):
    request = stateful_request(Toy(), tmp_path)
    assert_close(run(request, [[5, 6]], mask=[[value, value]])[0], Toy().logits([5, 6]))


def test_logits_indices_pick_from_the_flattened_batch(toy, tmp_path):
    model = with_kv_cache(toy.model(tmp_path))
    with_logits_indices(model)
    request = compiled(model).create_infer_request()
    assert [port.get_any_name() for port in model.inputs][-1] == "logits_indices"
    got = run(request, [[5, 6], [7, 8]], logits_indices=np.array([3, 0, 3]))
    assert_close(got[0:1], toy.logits([7, 8])[1:])
    assert_close(got[1:2], toy.logits([5, 6])[:1])
    np.testing.assert_array_equal(got[0], got[2])


def two_ranges(model: ov.Model) -> ov.Model:
    """Add a second Range that matters to the logits of long texts only."""
    (ids,) = model.get_parameters()
    length = ops.gather(ops.shape_of(ids), ops.constant(np.int64(1)), ops.constant(np.int64(0)))
    counted = ops.range(ops.constant(np.int64(0)), length, ops.constant(np.int64(1)), "f32")
    logits = model.get_results()[0].input_value(0)
    return ov.Model([ops.add(logits, ops.reduce_max(counted, ops.constant(np.int64(0))))], [ids], "two ranges")


def with_a_mask(model: ov.Model) -> ov.Model:
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            q, k, v = (op.input_value(port) for port in range(3))
            masked = ops.scaled_dot_product_attention(q, k, v, ops.constant(np.zeros((1, 1), np.float32)), causal=False)
            op.output(0).replace(masked.output(0))
    return model


def not_causal(model: ov.Model) -> ov.Model:
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            op.output(0).replace(
                ops.scaled_dot_product_attention(*(op.input_value(port) for port in range(3))).output(0)
            )
    return model


def another_output(model: ov.Model) -> ov.Model:
    (ids,) = model.get_parameters()
    return ov.Model([model.get_results()[0], ops.result(ops.shape_of(ids))], [ids], "two outputs")


def another_input(model: ov.Model) -> ov.Model:
    (ids,) = model.get_parameters()
    extra = ops.parameter([1], np.float32, name="extra")
    return ov.Model([ops.add(model.get_results()[0].input_value(0), extra)], [ids, extra], "two inputs")


@pytest.mark.parametrize(
    "change", [without_attention_ops, two_ranges, with_a_mask, not_causal, another_output, another_input, with_kv_cache]
)
def test_a_graph_of_another_kind_is_refused_and_left_as_it_was(tmp_path, change):
    model = change(Toy().model(tmp_path))
    model.validate_nodes_and_infer_types()
    save(model, tmp_path / "before.xml")
    with pytest.raises(NoCachePossible):
        with_kv_cache(model)
    save(model, tmp_path / "after.xml")
    for suffix in ("xml", "bin"):
        assert (tmp_path / f"before.{suffix}").read_bytes() == (tmp_path / f"after.{suffix}").read_bytes()


def test_logits_indices_need_the_vocabularys_matmul_last(tmp_path):
    model = with_kv_cache(Toy().model(tmp_path))
    logits = model.get_results()[0].input_value(0)
    scaled = ops.result(ops.multiply(logits, ops.constant(np.float32(2))))
    other = ov.Model([scaled], model.get_sinks(), model.get_parameters(), "scaled")
    save(other, tmp_path / "before.xml")
    with pytest.raises(NoCachePossible):
        with_logits_indices(other)
    save(other, tmp_path / "after.xml")
    assert (tmp_path / "before.xml").read_bytes() == (tmp_path / "after.xml").read_bytes()
