"""model_path: a model by its name, its folder or its file, and what is said where there is none."""

import pytest

from gpt2_text_prediction import Problem, TextGenerator
from gpt2_text_prediction.engine.model_file import model_path


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Return a folder that is the current one, with two converted models below public/."""
    for name in ("toy/FP16/toy.xml", "toy/FP32/toy.xml", "toy/FP16-INT8/toy.xml", "other/FP32/other.xml"):
        path = tmp_path / "public" / name
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("model", "precision", "expected"),
    [
        ("toy", None, "public/toy/FP16/toy.xml"),
        ("toy", "FP32", "public/toy/FP32/toy.xml"),
        ("toy", "FP16-INT8", "public/toy/FP16-INT8/toy.xml"),
        ("public/toy", None, "public/toy/FP16/toy.xml"),
        ("public/toy/", "FP32", "public/toy/FP32/toy.xml"),
        ("public/toy/FP32", None, "public/toy/FP32/toy.xml"),
        ("public/toy/FP32/toy.xml", None, "public/toy/FP32/toy.xml"),
        ("nowhere/toy.xml", None, "nowhere/toy.xml"),  # which the engine then says is missing
        ("toy.onnx", None, "toy.onnx"),
    ],
)
def test_a_name_a_folder_and_a_file(tree, model, precision, expected):
    assert model_path(model, precision).as_posix() == expected


def test_the_current_folder_and_one_above_are_folders(tree, monkeypatch):
    monkeypatch.chdir(tree / "public/toy/FP16")
    assert model_path(".").as_posix() == "toy.xml"
    assert model_path("..", "FP32").as_posix() == "../FP32/toy.xml"


@pytest.mark.parametrize(
    ("model", "precision", "message"),
    [
        (
            "gpt-2",
            None,
            "gpt-2: there is no such model in {tree}/public; public/ has other, toy; to get it, run "
            "omz_downloader --name gpt-2 && omz_converter --name gpt-2",
        ),
        ("some/where", None, "some/where: there is no such folder or model file (.xml)"),
        ("other", None, "public/other: has no model of FP16; it has FP32: give one of public/other/FP32"),
        ("othre", None, "othre: there is no such model in {tree}/public; did you mean other?"),
        ("toy", "INT3", "public/toy: has no model of INT3; it has FP16, FP16-INT8, FP32: give one as precision"),
        (
            "public/toy/FP16/toy.xml",
            "FP16",
            "precision: is for a model's name or folder; public/toy/FP16/toy.xml is a file",
        ),
        ("public", None, "public: holds models: give one of public/other, public/toy"),
        (".", None, ".: has no model of FP16; convert the model with omz_converter"),
        ("public/two", None, "public/two: has several models: give one of a.xml, b.xml"),
    ],
)
def test_what_there_is_not_is_one_line_with_what_there_is(tree, model, precision, message):
    (tree / "public/two").mkdir() if model == "public/two" else None
    for name in ("a.xml", "b.xml") if model == "public/two" else ():
        (tree / "public/two" / name).touch()
    with pytest.raises(Problem) as caught:
        model_path(model, precision)
    assert str(caught.value) == message.format(tree=tree)


def test_without_any_model_the_commands_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem, match=r"^gpt-2: there is no such model in .*/public; to get it, run omz_downloader "):
        TextGenerator("gpt-2")
