"""Descriptors in their trees, the facts of the packaged ones, and patterns that select them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor import catalogue
from omz_model_tools.descriptor.model import FileSource
from support import DATA
from support.model_tree import dataset, descriptor, load_models, write_dataset, write_model
from support.unprivileged import without_power, world_readable_folder


def complaint(*roots: Path) -> str:
    with pytest.raises(Problem) as caught:
        load_models(roots)
    return str(caught.value)


def test_the_packaged_models() -> None:
    models = {model.name: model for model in load_models([catalogue.packaged_root()])}
    gpt2 = models["gpt-2"]
    assert str(gpt2.subdirectory) == "public/gpt-2"
    assert (gpt2.recipe, gpt2.framework, gpt2.precisions) == ("gpt2", "pytorch", ("FP16", "FP32"))
    assert gpt2.license == "https://github.com/openai/gpt-2/blob/master/LICENSE"
    assert {str(file.name): file.size for file in gpt2.files} == {
        "gpt2/config.json": 665,
        "gpt2/model.safetensors": 548105171,
        "gpt2/vocab.json": 1042301,
        "gpt2/merges.txt": 456318,
    }
    hub = "https://huggingface.co/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e/"
    mirror = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2023.2/gpt-2/"
    for file in gpt2.files:
        expected = [hub + file.name.name] + [mirror + file.name.name] * (file.name.suffix != ".safetensors")
        assert [str(source) for source in file.sources] == expected


def test_gpt2s_vocabulary_is_the_one_in_the_test_data() -> None:
    data = DATA / "gpt2-tokenizer"
    (gpt2,) = (model for model in load_models([catalogue.packaged_root()]) if model.name == "gpt-2")
    for file in gpt2.files:
        if (data / file.name.name).exists():
            content = (data / file.name.name).read_bytes()
            assert (file.size, file.checksum.digest) == (len(content), hashlib.sha384(content).hexdigest())


def test_the_embedded_model_is_beside_its_descriptor_and_matches_it() -> None:
    (mini,) = (model for model in load_models([catalogue.packaged_root()]) if model.name == "gpt-2-mini")
    assert len(mini.files) == 4
    for file in mini.files:
        (source,) = file.sources
        assert isinstance(source, FileSource)
        content = source.path.read_bytes()
        assert (file.size, file.checksum.digest) == (len(content), hashlib.sha256(content).hexdigest())


def test_every_tree_and_sorted(tmp_path: Path) -> None:
    for root, name in [("one", "b"), ("two", "c"), ("one", "a")]:
        write_model(tmp_path / root, name, descriptor())
    names = [model.name for model in load_models([tmp_path / "two", tmp_path / "one"])]
    assert names == ["a", "b", "c"]


def test_a_complaint_names_the_file_as_the_user_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "models", "toy", descriptor(license=None))
    line = 'public/toy/model.yml: "license": expected a value, got no such key'
    assert complaint(tmp_path / "models") == f"{tmp_path}/models/{line}"
    monkeypatch.chdir(tmp_path)
    assert complaint(tmp_path / "models") == complaint(Path("models")) == f"models/{line}"


def no_tree(folder: Path) -> str:
    line = complaint(folder)
    opening = f"{folder}: expected a tree of models with a folder public/ in it, got "
    assert line.startswith(opening)
    return line.removeprefix(opening)


def test_folders_that_are_no_trees(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert [no_tree(tmp_path / name) for name in ("nowhere", "loop", "file")] == ["no such folder"] * 3
    assert no_tree(tmp_path) == "none"


def test_a_part_of_a_tree_names_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "zoo", "toy", descriptor())
    write_dataset(tmp_path / "zoo", "words", dataset())
    (tmp_path / "empty" / "public").mkdir(parents=True)
    for part in ("zoo/public", "zoo/public/toy", "zoo/datasets", "zoo/datasets/words"):
        assert no_tree(tmp_path / part) == f"a part of one; give {tmp_path}/zoo"
    assert no_tree(tmp_path / "empty" / "public") == f"a part of one; give {tmp_path}/empty"
    monkeypatch.chdir(tmp_path / "zoo" / "public")
    assert complaint(Path()).endswith(f"got a part of one; give {tmp_path}/zoo")


def test_descriptors_in_the_wrong_place_say_the_right_one(tmp_path: Path) -> None:
    for name in ("toy", "zoo"):
        write_model(tmp_path, name, descriptor())
    write_dataset(tmp_path, "words", dataset())
    for folder in [*(tmp_path / "public").iterdir(), *(tmp_path / "datasets").iterdir()]:
        folder.rename(tmp_path / folder.name)
    for folder in ("public", "datasets"):
        (tmp_path / folder).rmdir()
    assert no_tree(tmp_path) == f"toy/model.yml; move it to {tmp_path}/public/toy/ and give {tmp_path}"
    here = tmp_path / "zoo"
    assert no_tree(here) == f"model.yml; move it to {here}/public/zoo/ and give {here}"
    here = tmp_path / "words"
    assert no_tree(here) == f"dataset.yml; move it to {here}/datasets/words/ and give {here}"


def test_a_tree_with_data_sets_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path, "words", dataset())
    assert catalogue.find(catalogue.MODELS, [tmp_path]) == []
    assert [entry.name for entry in catalogue.find(catalogue.DATASETS, [tmp_path])] == ["words"]


def test_one_name_in_two_trees_of_users(tmp_path: Path) -> None:
    paths = [write_model(tmp_path / root, "gpt-2-mini", descriptor()) for root in ("one", "two")]
    line = f"{paths[1]}: expected a name of its own, got that of {paths[0]}"
    assert complaint(tmp_path / "one", tmp_path / "two") == line
    assert complaint(catalogue.packaged_root(), tmp_path / "one", tmp_path / "two") == line


def test_a_users_descriptor_takes_the_place_of_the_packaged_one(tmp_path: Path) -> None:
    path = write_model(tmp_path, "gpt-2-mini", descriptor(description="Mine."))
    packaged = catalogue.packaged_root()
    entries = catalogue.find(catalogue.MODELS, [packaged, tmp_path])
    (mini,) = (entry for entry in entries if entry.name == "gpt-2-mini")
    assert (mini.descriptor, mini.replaced) == (path, packaged / "public" / "gpt-2-mini" / "model.yml")
    assert mini.read().description == "Mine."
    assert [entry.name for entry in entries if entry.replaced] == ["gpt-2-mini"]


def test_a_tree_that_is_named_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "zoo", "toy", descriptor())
    (tmp_path / "link").symlink_to("zoo")
    monkeypatch.chdir(tmp_path)
    trees = [tmp_path / "zoo", Path("zoo"), Path("link"), Path("zoo/public/..")]
    assert [entry.name for entry in catalogue.find(catalogue.MODELS, trees)] == ["toy"]
    packaged = catalogue.packaged_root()
    again = [packaged, packaged / "public/.."]
    assert not [entry for entry in catalogue.find(catalogue.MODELS, again) if entry.replaced]
    write_model(tmp_path / "zoo", "gpt-2", descriptor())
    entries = catalogue.find(catalogue.MODELS, [*again, tmp_path / "zoo"])
    assert [entry.name for entry in entries if entry.replaced] == ["gpt-2"]


def test_a_broken_descriptor_stands_in_no_others_way(tmp_path: Path) -> None:
    path = write_model(tmp_path, "broken", descriptor(license=None))
    write_model(tmp_path, "toy", descriptor())
    (tmp_path / "public" / "notes").mkdir()
    (tmp_path / "public" / "README.md").touch()
    broken, toy = catalogue.find(catalogue.MODELS, [tmp_path])
    assert (broken.name, toy.read().name) == ("broken", "toy")
    with pytest.raises(Problem) as caught:
        broken.read()
    assert str(caught.value) == f'{path}: "license": expected a value, got no such key'


def test_open_model_zoos_own_descriptor_in_a_users_tree(tmp_path: Path) -> None:
    omz = DATA / "omz" / "gpt-2" / "model.yml"
    folder = tmp_path / "public" / "gpt-2"
    folder.mkdir(parents=True)
    (folder / "model.yml").write_bytes(omz.read_bytes())
    (model,) = load_models([tmp_path])
    assert (model.name, model.recipe, len(model.files), len(model.postprocessing)) == ("gpt-2", None, 6, 13)


def test_a_descriptor_that_may_not_be_read() -> None:
    with world_readable_folder() as folder:
        path = write_model(folder, "toy", descriptor())
        path.chmod(0)
        with without_power():
            assert complaint(folder) == f"{path}: Permission denied"


NOT_PLAIN = "expected a plain file, got a folder, a pipe or a device"


def test_a_descriptor_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "public" / "toy" / "model.yml").mkdir(parents=True)
    assert complaint(tmp_path) == f"{tmp_path}/public/toy/model.yml: {NOT_PLAIN}"


@pytest.mark.parametrize("lay", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_descriptor_that_never_ends(tmp_path: Path, lay: Callable[[Path], None]) -> None:
    path = tmp_path / "public" / "toy" / "model.yml"
    path.parent.mkdir(parents=True)
    lay(path)
    assert complaint(tmp_path) == f"{path}: {NOT_PLAIN}"


def test_a_descriptor_of_a_terabyte(tmp_path: Path) -> None:
    path = write_model(tmp_path, "toy", descriptor())
    os.truncate(path, 1 << 40)
    assert complaint(tmp_path) == f"{path}: expected at most 262144 bytes, got more"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["b"], ["b"]),
        (["c", "a"], ["c", "a"]),
        (["gpt-2*"], ["gpt-2", "gpt-2-mini"]),
        (["gpt-2-mini", "gpt-2*"], ["gpt-2-mini", "gpt-2"]),
        (["[ab]"], ["a", "b"]),
        ([], []),
    ],
)
def test_patterns_choose_in_their_own_order(tmp_path: Path, patterns: list[str], names: list[str]) -> None:
    for name in ("a", "b", "c", "gpt-2", "gpt-2-mini"):
        write_model(tmp_path, name, descriptor())
    entries = catalogue.find(catalogue.MODELS, [tmp_path])
    assert [entry.name for entry in catalogue.select(catalogue.MODELS, entries, patterns)] == names


NAMES = ("Toy", "distilgpt2", "gpt-2", "gpt-2-mini", "gpt-2-xl", "gpt2-lm-head-10")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("nope", ""),
        ("", "; a pattern is empty, perhaps there is a comma too many"),
        ("gpt-3*", ""),
        ("gpt-[3-9]", ""),
        ("gpt2", "; did you mean gpt-2? --print_all lists them"),
        ("GPT-2", "; did you mean gpt-2? --print_all lists them"),
        ("toy", "; did you mean Toy? --print_all lists them"),
        (" gpt-2-xl", "; did you mean gpt-2-xl? --print_all lists them"),
        ("distil-gpt2", "; did you mean distilgpt2? --print_all lists them"),
    ],
)
def test_a_pattern_without_a_model(tmp_path: Path, pattern: str, hint: str) -> None:
    for name in NAMES:
        write_model(tmp_path, name, descriptor())
    entries = catalogue.find(catalogue.MODELS, [tmp_path])
    with pytest.raises(Problem) as caught:
        catalogue.select(catalogue.MODELS, entries, ["gpt-2", pattern])
    assert str(caught.value) == f'No matching models: "{pattern}"{hint}'


def test_a_pattern_without_a_data_set(tmp_path: Path) -> None:
    write_dataset(tmp_path, "words", dataset())
    entries = catalogue.find(catalogue.DATASETS, [tmp_path])
    with pytest.raises(Problem, match=r'\ANo matching data sets: "gpt-2"\Z'):
        catalogue.select(catalogue.DATASETS, entries, ["gpt-2"])


def test_the_first_word_of_each_line(tmp_path: Path) -> None:
    path = tmp_path / "models.lst"
    path.write_text("# demo models\n\ngpt-2 # the small one\n'gpt-2-*' --with options\n", encoding="utf-8-sig")
    assert catalogue.patterns_of(path) == ["gpt-2", "gpt-2-*"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file or directory"),
        (b"gpt\xff", "expected UTF-8 text, got byte 0xff at 3"),
        (b"ok\n'gpt\n", 'line 2: expected a pattern, got "\'gpt" (No closing quotation)'),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "models.lst"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Problem) as caught:
        catalogue.patterns_of(path)
    assert str(caught.value) == f"{path}: {line}"
