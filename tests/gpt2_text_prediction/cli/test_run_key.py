"""run_key: the key of a model that is an ONNX file, whose weights may lie beside it."""

import pytest

from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.cli.run_key import differing, run_key
from support.toy import Toy


def onnx_tensor(location: str) -> bytes:
    """The bytes of a tensor's external_data: a message of a key and a value."""
    name = location.encode()
    length = bytes([len(name)]) if len(name) < 0x80 else bytes([len(name) & 0x7F | 0x80, len(name) >> 7])
    return b"\x0a\x08location\x12" + length + name


@pytest.mark.parametrize("name", ["weights.data", "w" * 127, "w" * 128, "w" * 200, "é.data"])
def test_the_data_beside_an_onnx_file_are_its_weights(tmp_path, name):
    model, data = tmp_path / "toy.onnx", tmp_path / name
    model.write_bytes(b"\x08\x07" + onnx_tensor(name) + b"\x70\x01" + onnx_tensor(name) + onnx_tensor("missing"))
    data.write_bytes(b"weights")
    for file in ("vocab.json", "merges.txt"):
        (tmp_path / file).write_text("{}")
    args = build_argparser().parse_args(["-m", str(model)])
    key = run_key(args, {}, {})
    assert differing(key, run_key(args, {}, {})) == ""
    data.write_bytes(b"Weights")
    assert differing(key, run_key(args, {}, {})) == "the weights"
    model.write_bytes(model.read_bytes() + b" ")
    assert differing(key, run_key(args, {}, {})) == "the model's description and the weights"


def test_positions_beside_a_model_and_another_back_end_are_in_the_key(tmp_path):
    """A model of [?,?] has its positions from config.json; with CACHE_DIR the back end is not the paged one."""
    ir = Toy(n_layer=1).ir(tmp_path)
    args = build_argparser().parse_args(["-m", str(ir)])
    key = run_key(args, {}, {})
    assert differing(key, run_key(args, {}, {"CACHE_DIR": "one"})) == "the device or its properties"
    assert run_key(args, {}, {"CACHE_DIR": "one"}) == run_key(args, {}, {"CACHE_DIR": "two"})
    (tmp_path / "config.json").write_text('{"n_positions": 20}')
    assert differing(key, run_key(args, {}, {})) == "the model's description"
