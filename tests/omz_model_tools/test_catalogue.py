"""catalogue: which models there are, with the facts of the packaged ones, and how users pick them."""

import hashlib
from pathlib import Path

import pytest
from model_tree import descriptor, write_model
from unprivileged import without_power, world_readable_folder

from omz_model_tools import catalogue
from omz_model_tools.descriptor import FileSource
from omz_model_tools.problem import Problem


def complaint(*roots: Path) -> str:
    with pytest.raises(Problem) as caught:
        catalogue.load_models(roots)
    return str(caught.value)


def test_the_packaged_models() -> None:
    models = {model.name: model for model in catalogue.load_models([catalogue.packaged_root()])}
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
    data = Path(__file__).parents[1] / "data" / "gpt2-tokenizer"
    (gpt2,) = (model for model in catalogue.load_models([catalogue.packaged_root()]) if model.name == "gpt-2")
    for file in gpt2.files:
        if (data / file.name.name).exists():
            content = (data / file.name.name).read_bytes()
            assert (file.size, file.checksum.digest) == (len(content), hashlib.sha384(content).hexdigest())


def test_the_embedded_model_lies_beside_its_descriptor_and_is_true() -> None:
    (mini,) = (model for model in catalogue.load_models([catalogue.packaged_root()]) if model.name == "gpt-2-mini")
    assert len(mini.files) == 4
    for file in mini.files:
        (source,) = file.sources
        assert isinstance(source, FileSource)
        content = source.path.read_bytes()
        assert (file.size, file.checksum.digest) == (len(content), hashlib.sha256(content).hexdigest())


def test_every_tree_and_sorted(tmp_path: Path) -> None:
    for root, name in [("one", "b"), ("two", "c"), ("one", "a")]:
        write_model(tmp_path / root, name, descriptor())
    names = [model.name for model in catalogue.load_models([tmp_path / "two", tmp_path / "one"])]
    assert names == ["a", "b", "c"]


def test_a_complaint_names_the_file_as_the_user_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "models", "toy", descriptor(license=None))
    line = 'public/toy/model.yml: "license": expected a value, got no such key'
    assert complaint(tmp_path / "models") == f"{tmp_path}/models/{line}"
    monkeypatch.chdir(tmp_path)
    assert complaint(tmp_path / "models") == complaint(Path("models")) == f"models/{line}"


def test_trees_that_are_none(tmp_path: Path) -> None:
    expected = "expected a tree of models with a folder public/ in it, got none"
    assert complaint(tmp_path) == f"{tmp_path}: {expected}"
    assert complaint(tmp_path / "nowhere") == f"{tmp_path}/nowhere: {expected}"


def test_one_name_in_two_trees(tmp_path: Path) -> None:
    paths = [write_model(tmp_path / root, "toy", descriptor()) for root in ("one", "two")]
    line = f"{paths[1]}: expected a model name of its own, got that of {paths[0]}"
    assert complaint(tmp_path / "one", tmp_path / "two") == line


def test_a_descriptor_that_may_not_be_read() -> None:
    with world_readable_folder() as folder:
        path = write_model(folder, "toy", descriptor())
        path.chmod(0)
        with without_power():
            assert complaint(folder) == f"{path}: Permission denied"


def test_a_descriptor_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "public" / "toy" / "model.yml").mkdir(parents=True)
    assert complaint(tmp_path) == f"{tmp_path}/public/toy/model.yml: Is a directory"


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
    models = catalogue.load_models([tmp_path])
    assert [model.name for model in catalogue.select(models, patterns)] == names


@pytest.mark.parametrize("pattern", ["nope", "A", ""])
def test_a_pattern_without_a_model(tmp_path: Path, pattern: str) -> None:
    write_model(tmp_path, "a", descriptor())
    with pytest.raises(Problem, match=rf'\ANo matching models: "{pattern}"\Z'):
        catalogue.select(catalogue.load_models([tmp_path]), ["a", pattern])


def test_the_first_word_of_each_line(tmp_path: Path) -> None:
    path = tmp_path / "models.lst"
    path.write_text("# demo models\n\ngpt-2 # the small one\n'gpt-2-*' --with options\n", encoding="utf-8-sig")
    assert catalogue.patterns_of(path) == ["gpt-2", "gpt-2-*"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file or directory"),
        (b"gpt\xff", "expected UTF-8 text, got byte 0xff"),
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
