"""omz_info_dumper --upstream: what Open Model Zoo's loader takes, by the rules of support/omz_loader.py."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from omz_model_tools.cli.info_dumper import info_dumper
from omz_model_tools.descriptor.catalogue import packaged_root
from support import DATA
from support.model_tree import descriptor, file_entry, load_models, write_model
from support.omz_loader import complaints

CONTENT = b"weights"
BESIDE = {"$type": "file", "path": "weights.bin"}
ONNX = {
    "conversion_to_onnx_args": ["--model-path=$config_dir", "--output-file=$conv_dir/toy.onnx"],
    "input_info": [{"name": "input", "shape": [1, 8], "layout": "NS"}],
    "model_optimizer_args": ["--input_model=$conv_dir/toy.onnx", "--input_shape=[?,1..8]"],
}


def toy(root: Path, source: Any = ("https://a/b", "https://c/d"), download: bool = True, **changed: Any) -> None:
    """A model of one file with a SHA-256 and no size, downloaded to root, beside a model.py."""
    source = list(source) if isinstance(source, tuple) else source
    entry = file_entry("sub/w", CONTENT, source, size=None)
    path = write_model(root / "models", "toy", descriptor(entry, **{**ONNX, **changed}))
    path.with_name("model.py").write_text("import torch\n")
    if download:
        (root / "public/toy/sub").mkdir(parents=True)
        (root / "public/toy/sub/w").write_bytes(CONTENT)


def dump(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    flags = ["--upstream", str(root / "up"), "-d", str(root), *arguments]
    return info_dumper(["--all", *flags], [root / "models"]), *capsys.readouterr()


def test_a_descriptor_of_ours_becomes_one_of_theirs(tmp_path, capsys):
    toy(tmp_path)
    assert complaints(tmp_path / "models/public/toy/model.yml") == ["sub/w: size", "sub/w: checksum", "sub/w: source"]
    path = tmp_path / "up/public/toy/model.yml"
    assert dump(tmp_path, capsys) == (0, f"{path}\n", "")
    assert complaints(path) == []
    assert sorted(found.name for found in path.parent.iterdir()) == ["model.py", "model.yml"]
    value = yaml.safe_load(path.read_bytes())
    digest = hashlib.sha384(CONTENT).hexdigest()
    assert value["files"] == [{"name": "sub/w", "checksum": digest, "source": "https://a/b", "size": 7}]
    assert "recipe" not in value
    assert value["input_info"] == [{"name": "input", "layout": "NS"}]  # else its converter would replace [?,1..8]
    assert dump(tmp_path, capsys)[0] == 0  # again, over the first one
    (model,) = load_models([tmp_path / "up"])  # and ours takes it too
    assert model.files[0].checksum.digest == digest


def test_their_own_descriptor_stays_what_it_says(tmp_path, capsys):
    folder = tmp_path / "models/public/gpt-2"
    shutil.copytree(DATA / "omz/gpt-2", folder)
    assert dump(tmp_path, capsys)[0] == 0
    text = (tmp_path / "up/public/gpt-2/model.yml").read_text()
    assert yaml.safe_load(text) == yaml.safe_load((folder / "model.yml").read_bytes())


def test_every_packaged_size_becomes_one_of_theirs(tmp_path, capsys):
    """With the checksums of stand-ins: the files themselves have gigabytes."""
    models = [model for model in load_models([packaged_root()]) if model.name != "gpt-2-mini"]
    for model in models:
        value = yaml.safe_load(model.descriptor.read_bytes())
        for entry in value["files"]:
            path = tmp_path / model.subdirectory / entry["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CONTENT)
            if isinstance(entry["checksum"], dict):
                entry.update({"size": len(CONTENT)} if "size" in entry else {"max_size": len(CONTENT)})
                entry["checksum"]["value"] = hashlib.sha256(CONTENT).hexdigest()
        write_model(tmp_path / "models", model.name, value)
    code, out, err = dump(tmp_path, capsys)
    assert (code, len(out.splitlines()), err) == (0, len(models), "")
    assert {line: complaints(Path(line)) for line in out.splitlines()} == {line: [] for line in out.splitlines()}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"source": BESIDE}, 'files "sub/w": expected a source in the network, got only a file beside it'),
        (
            {"framework": "caffe", "conversion_to_onnx_args": None},
            '"framework": expected one of dldt, onnx, pytorch, tf',
        ),
        ({"model_optimizer_args": None}, 'expected "model_optimizer_args" beside the recipe, got no such key'),
        ({"conversion_to_onnx_args": None}, 'expected "conversion_to_onnx_args" beside the recipe, got no such key'),
    ],
)
def test_what_they_cannot_take(tmp_path, capsys, changed, words):
    toy(tmp_path, **changed)
    code, out, err = dump(tmp_path, capsys)
    assert (code, out) == (1, "FAILED:\ntoy\n")
    assert err.startswith(f"########## Error: {tmp_path}/models/public/toy/model.yml: {words}")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "up").exists()


def test_a_file_that_is_not_downloaded_or_another(tmp_path, capsys):
    toy(tmp_path, download=False)
    path = tmp_path / "public/toy/sub/w"
    advice = f"run: omz_downloader --name toy --models_dir {tmp_path}/models -o {tmp_path}\n"
    needed = f"########## Error: {path}: its SHA-384 is needed: "
    assert dump(tmp_path, capsys)[2] == f"{needed}expected a downloaded file, got none; {advice}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weight!")
    assert dump(tmp_path, capsys)[2] == f"{needed}hash mismatch; {advice}"
    assert not (tmp_path / "up").exists()


def test_the_tree_of_the_descriptor_is_not_written_to(tmp_path, capsys):
    toy(tmp_path)
    path = tmp_path / "models/public/toy/model.yml"
    before = path.read_bytes()
    code, _, err = dump(tmp_path, capsys, "--upstream", str(tmp_path / "models"))
    assert (code, err) == (
        1, f"########## Error: {path}: expected another tree than that of the descriptor, got the same\n"
    )  # fmt: skip
    assert path.read_bytes() == before


def test_a_link_in_its_place_is_left_as_it_is(tmp_path, capsys):
    toy(tmp_path)
    path = tmp_path / "up/public/toy/model.yml"
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    code, _, err = dump(tmp_path, capsys)
    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith(f"########## Error: {path}: expected a file or nothing, got a symbolic link; ")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["-d", "x"], "--download_dir cannot be used without --upstream"),
        (["--upstream=x", "--with_stats"], "--with_stats cannot be used with --upstream"),
    ],
)
def test_flags_that_are_of_no_use(flags, line, capsys):
    with pytest.raises(SystemExit, match=r"\A2\Z"):
        info_dumper(["--all", *flags])
    assert capsys.readouterr().err.endswith(f"{line}\n")
