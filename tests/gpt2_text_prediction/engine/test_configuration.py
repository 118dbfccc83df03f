"""configuration: what a device is asked for, named by the user or chosen by AUTO, and what AUTO's rows cost."""

import os
import signal
from itertools import product

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from gpt2_text_prediction import Problem, TextGenerator
from gpt2_text_prediction.engine import configuration, read_spec
from gpt2_text_prediction.engine.configuration import (
    AUTO,
    MOST_KL,
    DeviceConfig,
    Weights,
    chosen,
    has_bf16,
    weights_of,
)
from support.toy import DEVICES_OF_A_CPU, Toy

F32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f16"}
BF16 = {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16"}
FLOAT, INT8 = Weights(False), Weights(True)
CASES = list(product((False, True), repeat=3))


@pytest.fixture
def with_bf16(monkeypatch):
    """Make this CPU one with bf16, which OpenVINO emulates where there is none."""
    monkeypatch.setattr(configuration, "has_bf16", lambda core: True)


@pytest.fixture
def without_bf16(monkeypatch):
    monkeypatch.setattr(configuration, "has_bf16", lambda core: False)


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    return Toy().ir(tmp_path_factory.mktemp("toy"))


def resolved(weights: Weights = FLOAT, **asked) -> dict:
    return DeviceConfig(**asked).resolved(ov.Core(), weights)


@pytest.mark.parametrize(("bf16", "quantized", "single"), CASES)
def test_each_case_has_one_row(bf16, quantized, single):
    fits = [
        row
        for row in AUTO
        if (row.has_bf16, row.is_quantized) == (bf16, quantized) and row.single_row in (None, single)
    ]
    assert [row.arithmetic for row in fits] == [chosen(bf16, Weights(quantized), single)]


def test_no_row_costs_more_than_is_allowed_and_none_has_a_cpu_emulate():
    for row in AUTO:
        assert 0 <= row.kl <= MOST_KL
        assert row.has_bf16 or row.arithmetic.inference == "f32"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("CPU", F32),
        ("CPU.0", F32),
        ("GPU.0", {}),
        ("AUTO", {"DEVICE_PROPERTIES": {"CPU": F32}}),
        ("MULTI:GPU,CPU", {"DEVICE_PROPERTIES": {"CPU": F32}}),
        ("HETERO:CPU", {"DEVICE_PROPERTIES": {"CPU": F32}}),
    ],
)
def test_the_choice_is_for_a_cpu_also_behind_another_device(without_bf16, device, expected):
    assert resolved(device=device) == expected


def test_the_choice_on_a_cpu_with_bf16_depends_on_weights_and_use(with_bf16):
    assert resolved() == BF16
    assert resolved(single_row=True) == F32
    for single in (True, False):
        assert resolved(INT8, single_row=single) == BF16 | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 128}


@pytest.mark.parametrize(("group", "expected"), [(None, 128), (32, 32), (64, 64), (128, 128), (256, 128)])
def test_a_group_is_never_larger_than_the_weights_own(without_bf16, group, expected):
    assert resolved(Weights(True, group)) == F32 | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": expected}


def test_a_precision_that_is_named_counts_on_any_cpu(with_bf16):
    for weights, single in product((FLOAT, INT8), (False, True)):
        assert resolved(weights, precision_hint="f32", single_row=single) == F32
    assert resolved(precision_hint="bf16", num_threads=3) == {
        "INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "f16", "INFERENCE_NUM_THREADS": 3,
    }  # fmt: skip
    assert resolved(precision_hint="f32", cache_precision="f32")["KV_CACHE_PRECISION"] == "f32"
    assert resolved(device="GPU", precision_hint="f16") == {"INFERENCE_PRECISION_HINT": "f16"}
    assert resolved(device="AUTO", precision_hint="f32") == {
        "INFERENCE_PRECISION_HINT": "f32",
        "DEVICE_PROPERTIES": {"CPU": F32},
    }


def test_a_precision_named_as_a_property_is_named(with_bf16):
    f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    assert resolved(properties=f32) == resolved(INT8, properties=f32) == F32
    assert resolved(device="AUTO", properties=f32) == {
        "DEVICE_PROPERTIES": {"CPU": {"KV_CACHE_PRECISION": "f16"}},
        **f32,
    }


def test_device_leaves_all_to_the_device(with_bf16):
    for device in ("CPU", "AUTO", "GPU"):
        assert resolved(INT8, device=device, precision_hint="device", num_threads=2) == {"INFERENCE_NUM_THREADS": 2}


def test_a_property_counts_before_the_choice(with_bf16):
    given = {"KV_CACHE_PRECISION": "u8"}
    assert resolved(properties=given) == BF16 | given
    assert resolved(device="AUTO", properties=given) == {
        "DEVICE_PROPERTIES": {"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}},
        **given,
    }
    assert resolved(device="GPU", properties=given) == given


@pytest.mark.parametrize(
    ("dtype", "shape", "expected"),
    [
        (np.float16, (4, 4), FLOAT),
        (np.int64, (4, 4), FLOAT),
        (np.int8, (4, 4), INT8),
        (np.uint8, (4, 2, 8), Weights(True, 8)),
        (np.uint8, (4, 1, 1), INT8),  # zero points alone
    ],
)
def test_weights_are_quantized_where_a_constant_is(dtype, shape, expected):
    """Weights of 8 bits, widened and scaled as NNCF leaves them; GPT-2's other constants are i64 and f32."""
    ids = ops.parameter([-1, -1], np.float32)
    weights = ops.convert(ops.constant(np.ones(shape, dtype)), "f32")
    model = ov.Model([ops.result(ops.multiply(weights, ops.reduce_sum(ids, [0, 1])))], [ids], "x")
    assert weights_of(model) == expected


def test_a_mask_of_bytes_is_no_weight():
    """As in the ONNX files of GPT-2: u8 [1, 1, 1024, 1024], converted to bool."""
    ids = ops.parameter([-1, -1], np.float32)
    mask = ops.convert(ops.constant(np.ones((1, 1, 4, 4), np.uint8)), "boolean")
    total = ops.reduce_sum(ids, [0, 1])
    model = ov.Model([ops.result(ops.select(mask, total, total))], [ids], "x")
    assert weights_of(model) == FLOAT


@pytest.mark.extras("nncf")
@pytest.mark.parametrize(("precision", "group"), [("FP16-INT8", None), ("FP16-INT4", 64)])
def test_what_the_quantizer_makes_is_known(mini_quantized, precision, group):
    """Groups of 64 are the quantizer's default for INT4."""
    model = ov.Core().read_model(mini_quantized / precision / "gpt-2-mini.xml")
    assert weights_of(model) == Weights(True, group)


def test_this_cpu_is_asked():
    core = ov.Core()
    assert has_bf16(core) is ("BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.fixture(scope="module")
def bf16_as_reported(ir):
    """Return what the device makes of bf16: f32 where it neither has nor emulates it."""
    with TextGenerator(ir, precision_hint="bf16") as generator:
        return generator.engine.properties["INFERENCE_PRECISION_HINT"]


@pytest.mark.parametrize("device", ["CPU", *DEVICES_OF_A_CPU])
def test_the_choice_is_in_force_and_results_say_it(ir, with_bf16, bf16_as_reported, device):
    expected = {"INFERENCE_PRECISION_HINT": bf16_as_reported, "KV_CACHE_PRECISION": "bf16"}
    with TextGenerator(ir, device=device, num_threads=1) as generator:
        (result,) = generator.generate(["a"], max_new_tokens=2)
        assert result.properties == generator.engine.properties == expected
        assert [beam.properties for beam in generator.beam_search("a", max_new_tokens=2)] == [expected]


@pytest.mark.parametrize("device", DEVICES_OF_A_CPU)
def test_a_property_that_is_given_is_in_force_on_the_cpu_behind_a_device(ir, without_bf16, device):
    with TextGenerator(ir, device=device, config={"KV_CACHE_PRECISION": "u8"}) as generator:
        assert generator.engine.properties == F32 | {"KV_CACHE_PRECISION": "u8"}


def test_scores_are_in_f32_unless_another_precision_is_named(ir, with_bf16, bf16_as_reported):
    def scores(**asked) -> list[float]:
        with TextGenerator(ir, num_threads=1, **asked) as generator:
            found = [generator.score(text).logprobs[1:].tolist() for text in ("the sea", "the sea")]
            assert found[0] == found[1]
            return found[0]

    # A model that is reported to run in f32 is not loaded again, and keeps the cache that was chosen for bf16.
    cache = {} if bf16_as_reported == "bf16" else {"KV_CACHE_PRECISION": "bf16"}
    assert scores() == scores(precision_hint="f32", config=cache)
    exact, rounded = scores(precision_hint="f32"), scores(precision_hint="bf16")
    assert scores(config={"INFERENCE_PRECISION_HINT": "bf16"}) == pytest.approx(rounded, abs=0.1)
    assert (rounded == exact) is (bf16_as_reported == "f32")


@pytest.mark.extras("nncf")
def test_scores_of_quantized_weights_are_the_same_wherever_texts_run_in_bf16(
    mini_quantized, monkeypatch, bf16_as_reported
):
    def score(**config: str) -> list[float]:
        with TextGenerator(mini_quantized / "FP16-INT8/gpt-2-mini.xml", config=config) as generator:
            return generator.score("The whale").logprobs[1:].tolist()

    # A model that is reported to run in f32 is not loaded again, and keeps the cache that was chosen for bf16.
    cache = {} if bf16_as_reported == "bf16" else {"KV_CACHE_PRECISION": "bf16"}
    monkeypatch.setattr(configuration, "has_bf16", lambda core: False)
    plain = score(**cache)
    monkeypatch.setattr(configuration, "has_bf16", lambda core: True)
    assert score() == plain


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_gets_no_second_engine(ir, with_bf16, bf16_as_reported):
    if bf16_as_reported == "f32":
        pytest.skip("this CPU runs bf16 as f32")
    with TextGenerator(ir, num_threads=1) as generator, generator._scoring_lock:  # as if a thread were loading it
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                generator.score("the sea")
            except Problem as problem:
                generator.close()
                os._exit(0 if "forked" in str(problem) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_back_end_without_a_cache_names_none(ir):
    with TextGenerator(ir, back_end="static", precision_hint="f32") as generator:
        assert generator.engine.properties == {"INFERENCE_PRECISION_HINT": "f32"}


def test_a_spec_says_what_it_will_be_compiled_with(ir, with_bf16):
    spec = read_spec(ir, DeviceConfig(single_row=True, num_threads=2))
    assert (spec.weights.is_quantized, spec.config) == (False, F32 | {"INFERENCE_NUM_THREADS": 2})
