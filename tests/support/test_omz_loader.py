"""The rules of Open Model Zoo's loader take its own descriptor, and refuse what its loader was seen to refuse."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from omz_model_tools.descriptor.catalogue import packaged_root
from support import DATA
from support.omz_loader import complaints

OMZ = DATA / "omz/gpt-2/model.yml"


def test_it_takes_its_own():
    assert complaints(OMZ) == []


def test_it_refuses_ours():
    found = {path.parent.name: complaints(path) for path in packaged_root().glob("public/*/model.yml")}
    assert len(found) > 6
    assert found["gpt-2"] == [
        "gpt2/config.json: source", "gpt2/merges.txt: source", "gpt2/model.safetensors: checksum",
        "gpt2/vocab.json: source",
    ]  # fmt: skip
    assert all(found.values())


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"name": "gpt-2"}, "the key name"),
        ({"framework": "caffe"}, "framework"),
        ({"framework": "onnx"}, "conversion_to_onnx_args"),
        ({"conversion_to_onnx_args": [1]}, "conversion_to_onnx_args"),
        ({"model_optimizer_args": "x"}, "model_optimizer_args"),
        ({"model_optimizer_args": None}, "model_optimizer_args"),
        ({"task_type": "chat"}, "task_type"),
        ({"license": 1}, "license"),
        ({"input_info": [{"name": "x", "layout": ["N"]}]}, "input_info x"),
        ({"postprocessing": [{"$type": "unpack_archive", "file": "../x", "format": "zip"}]}, "postprocessing 0"),
        ({"postprocessing": [{"$type": "rename", "file": "x"}]}, "postprocessing 0"),
        ({"recipe": "gpt2", "quantizable": 7}, None),
    ],
)
def test_what_it_refuses(tmp_path: Path, changed: dict[str, Any], complaint: str | None):
    value = {**yaml.safe_load(OMZ.read_bytes()), **changed}
    path = tmp_path / "gpt-2/model.yml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(value))
    assert (complaints(path) or [None])[0] == complaint
