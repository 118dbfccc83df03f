"""omz_info_dumper's keys: Open Model Zoo's in its order and with its types, then ours."""

import json
from pathlib import Path

import pytest

from omz_model_tools.descriptor.catalogue import packaged_root
from omz_model_tools.inspection.info import info_of
from support import DATA
from support.model_tree import descriptor, file_entry, load_models, write_model

OMZ = DATA / "omz" / "gpt-2" / "model.yml"
OMZ_KEYS = [
    "name",
    "composite_model_name",
    "description",
    "framework",
    "license_url",
    "accuracy_config",
    "model_config",
    "precisions",
    "subdirectory",
    "task_type",
    "input_info",
    "model_stages",
]
OUR_KEYS = ["recipe", "download_size", "files"]


def test_open_model_zoos_model_as_open_model_zoo_dumps_it(tmp_path: Path) -> None:
    """The values below are those of OMZ's omz_info_dumper for its gpt-2, with the folder of this test."""
    folder = tmp_path / "public" / "gpt-2"
    folder.mkdir(parents=True)
    (folder / "model.yml").write_bytes(OMZ.read_bytes())
    (folder / "accuracy-check.yml").touch()
    (model,) = load_models([tmp_path])
    info = info_of(model)
    assert list(info) == OMZ_KEYS + OUR_KEYS
    description = info.pop("description")
    assert description.startswith('The "gpt-2" model is a one of Generative Pre-trained')
    assert [info[key] for key in OMZ_KEYS if key != "description"] == [
        "gpt-2",
        None,
        "pytorch",
        "https://huggingface.co/gpt2",
        f"{folder}/accuracy-check.yml",
        f"{folder}/model.yml",
        ["FP16", "FP32"],
        "public/gpt-2",
        "text_prediction",
        [{"name": "input", "shape": [], "layout": "NS"}],
        [],
    ]
    assert (info["recipe"], info["download_size"]) == (None, 2586799 + 548118077 + 665 + 1042301 + 456318 + 40357)


def test_a_file_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    entry = file_entry("a/b", b"", ["https://a/b", {"$type": "file", "path": "c"}], original_source="https://d/e")
    write_model(tmp_path, "toy", descriptor(entry, input_info=[{"name": "x", "shape": [1, 2]}]))
    (model,) = load_models([tmp_path])
    info = info_of(model)
    assert info["files"] == [
        {
            "name": "a/b",
            "size": 0,
            "checksum": {
                "$type": "sha256",
                "value": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            },
            "sources": ["https://a/b", f"{tmp_path}/public/toy/c"],
            "original_source": "https://d/e",
        }
    ]
    assert info["input_info"] == [{"name": "x", "shape": [1, 2], "layout": ""}]
    assert (info["recipe"], info["accuracy_config"], info["download_size"]) == ("toy", None, 0)


def test_paths_do_not_depend_on_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path, "toy", descriptor())
    monkeypatch.chdir(tmp_path)
    (model,) = load_models([Path()])
    assert info_of(model)["model_config"] == f"{tmp_path}/public/toy/model.yml"


def test_a_sum_that_is_not_known(tmp_path: Path) -> None:
    write_model(
        tmp_path, "toy", descriptor(file_entry("a", b"1", "https://a"), file_entry("b", b"", "https://b", size=None))
    )
    (model,) = load_models([tmp_path])
    assert info_of(model)["download_size"] is None


def test_every_packaged_model_is_valid_json() -> None:
    for model in load_models([packaged_root()]):
        info = info_of(model)
        assert json.loads(json.dumps(info)) == info
        assert list(info) == OMZ_KEYS + OUR_KEYS
        assert Path(info["model_config"]).is_file()
