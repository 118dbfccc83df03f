"""texts: a file's faults by line and byte; a text encoded in pieces has the tokens of the whole; data sets."""

import hashlib
from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer, load_tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate import texts
from gpt2_tools.evaluate.texts import (
    SCORED_FILES,
    WIKITEXT_2,
    DatasetFile,
    Text,
    dataset_file,
    encode,
    pieces,
    read_dataset,
    read_text,
)
from omz_model_tools.common import Problem as FileProblem
from support import DATA
from support.tokenizer_kinds import beside_ir


@pytest.fixture(scope="module")
def tokenizer():
    return GPT2Tokenizer(DATA / "gpt2-tokenizer/vocab.json", DATA / "gpt2-tokenizer/merges.txt")


def test_a_file_is_taken_as_it_is(tmp_path):
    raw = "\ufeff one\r\n twö\n\n".encode()
    path = tmp_path / "x.txt"
    path.write_bytes(raw)
    text = read_text(path)
    assert text.text == "\ufeff one\r\n twö\n\n"
    assert text.facts() == {
        "path": str(path),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": 16,
        "words": 3,  # a mark of the byte order is one, by itself
        "form": "the whole file",
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty; expected a text to score"),
        (b"\xff", "expected UTF-8, got 0xff as byte 1 of line 1 (byte 1 of the file)"),
        (b"one\ntwo \xe9 three", "expected UTF-8, got 0xe9 as byte 5 of line 2 (byte 9 of the file)"),
        ("é\n\n".encode() + b"\xed\xa0\x80", "expected UTF-8, got 0xed as byte 1 of line 3 (byte 5 of the file)"),
    ],
)
def test_faults(tmp_path, raw, message):
    path = tmp_path / "x.txt"
    path.write_bytes(raw)
    with pytest.raises(Problem) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}: {message}"


def test_no_file(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileProblem, match=f"^{path}: (No such file|Is a directory)"):
            read_text(path)


@pytest.mark.parametrize("text", ["a\r\nb\rc\n\r\n\rd\r\r\n\r", "a\n\u2028\x0b\x85b\n"])
def test_newlines_are_universal_where_open_model_zoo_reads(tmp_path, text):
    """Its accuracy_check opens the file in Python's text mode."""
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode())
    found = read_text(path).with_universal_newlines()
    with path.open(encoding="utf-8") as stream:
        assert found.text == stream.read()
    assert (found.sha256, found.bytes) == (hashlib.sha256(text.encode()).hexdigest(), len(text.encode()))
    changed = r", each \r\n and \r read as \n" if "\r" in text else ""
    assert found.form == f"the whole file{changed}"


def test_lines_are_joined_as_hugging_face_does_it():
    r"""Their data set has the rows "", " = A = \n", "", " b\n"."""
    text = Text(Path("x"), "sum", 17, " \n = A = \n \n b\n")
    joined = text.lines_joined()
    assert joined.text == "\n\n".join(["", " = A = \n", "", " b\n"])
    assert (joined.sha256, joined.bytes, joined.words, text.words) == ("sum", 17, 4, 4)
    assert joined.facts()["form"] == "its lines joined by empty lines"


@given(st.text(alphabet="ab1'. \n\t\r\u2028é\u3000�,", max_size=60), st.integers(1, 9))
def test_pieces_make_the_text(text, size):
    assert "".join(pieces(text, size)) == text


@given(st.text(alphabet="ab1's. \n\t\r\u2028\x85é\u3000\x00,", max_size=60), st.integers(1, 9))
def test_pieces_have_the_tokens_of_the_whole(tokenizer, text, size):
    cut = [token for piece in pieces(text, size) for token in tokenizer.encode(piece)]
    assert cut == tokenizer.encode(text)


def test_pieces_are_as_short_as_asked():
    assert list(pieces("One.\n\nTwo\nthree four\n", 3)) == ["One.", "\n\nTwo", "\nthree", " four", "\n"]
    assert list(pieces("as longer\u3000words\t.\n", 3)) == ["as longer\u3000words\t.", "\n"]


def test_a_long_text_is_encoded_as_the_whole(tokenizer):
    text = read_text(DATA / "gpt-2-mini/heldout.txt").text
    assert len(text) > 2 * texts.PIECE
    assert len(list(pieces(text, texts.PIECE))) == 3
    assert encode(tokenizer, text).tolist() == tokenizer.encode(text)


@pytest.mark.parametrize("name", ["add_prefix_space", "TemplateProcessing", "WordPiece", "added_tokens_decoder"])
def test_a_text_of_another_tokenizer_is_encoded_as_the_whole(tmp_path, name):
    other = load_tokenizer(beside_ir(name, tmp_path))
    text = "the rain in it <|user|> it's " * 4000
    assert encode(other, text).tolist() == other.encode(text, template=True)


def test_the_held_out_text_is_the_published_one():
    text = read_text(DATA / "gpt-2-mini/heldout.txt")
    assert text.sha256 == "662b78a1f6d769bc60e0b19e4d2a1345a508c6acff0a88088e258513bd799889"
    assert text.bytes == 161492


TOY = DatasetFile("toy", PurePosixPath("sub/x.txt"), hashlib.sha256(b"some text").hexdigest())


def write(folder: Path, raw: bytes) -> Path:
    path = folder / "datasets/toy/sub/x.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("name", SCORED_FILES)
def test_the_checksum_is_that_of_the_dataset_yml(name):
    file = dataset_file(name)
    descriptor = Path(str(files("omz_models"))) / "datasets" / name / "dataset.yml"
    assert file.sha256 in descriptor.read_text(encoding="utf-8")


def test_the_readme_and_the_descriptor_of_the_data_set_say_the_same():
    folder, file = Path(str(files("omz_models"))) / "datasets" / WIKITEXT_2, dataset_file(WIKITEXT_2)
    row = f"| `{file.file}` | 1290590 | `{file.sha256}` |"
    assert row in (folder / "README.md").read_text(encoding="utf-8").splitlines()


def test_a_text_where_the_downloader_puts_it(tmp_path):
    path = write(tmp_path, b"some text")
    text = read_dataset(TOY, tmp_path)
    assert (text.path, text.text, text.sha256) == (path, "some text", TOY.sha256)


def test_a_text_that_is_not_there(tmp_path):
    with pytest.raises(Problem) as caught:
        read_dataset(TOY, tmp_path)
    command = f"download it with `omz_data_downloader --name toy -o {tmp_path}`, or give its folder with --data_dir"
    assert str(caught.value) == f"{tmp_path}/datasets/toy/sub/x.txt: there is no such file; {command}"
    with pytest.raises(Problem, match="; download it with `omz_data_downloader --name toy`, or "):
        read_dataset(TOY, Path())


def test_another_text(tmp_path):
    path = write(tmp_path, b"another")
    with pytest.raises(Problem) as caught:
        read_dataset(TOY, tmp_path)
    got = hashlib.sha256(b"another").hexdigest()
    command = f"download it again with `omz_data_downloader --name toy -o {tmp_path}`"
    assert str(caught.value) == f"{path}: expected the SHA-256 {TOY.sha256}, got {got}; {command}"
