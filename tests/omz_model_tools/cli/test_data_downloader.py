"""omz_data_downloader as a user runs it: whole transcripts and exit codes."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from omz_model_tools.cli.data_downloader import data_downloader
from support.hub import Answer, Hub
from support.model_tree import dataset, file_entry, write_dataset

HEADING = "################|| Downloading words ||################\n\n"
TEXTS = {"words-raw/test.raw": b"the end", "words-raw/valid.raw": b"the beginning"}


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in TEXTS.items():
            file.writestr(name, text)
    return content.getvalue()


def zipped(source: Any) -> dict[str, Any]:
    """A data set like WikiText-2: one archive, unpacked."""
    step = {"$type": "unpack_archive", "file": "words.zip", "format": "zip"}
    return dataset(file_entry("words.zip", archive(), source), postprocessing=[step])


def test_print_all(run, tmp_path: Path) -> None:
    done = run("omz_data_downloader", "--print_all", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"lambada\nwikitext-2\nyelp-review-full\n", b"")


@pytest.mark.parametrize(
    ("pattern", "hint"), [("gpt-2", ""), ("wikitext2", "; did you mean wikitext-2? --print_all lists them")]
)
def test_an_unknown_name(run, pattern: str, hint: str, tmp_path: Path) -> None:
    done = run("omz_data_downloader", "--name", pattern, cwd=tmp_path)
    line = f'No matching data sets: "{pattern}"{hint}\n'
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", line)
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_downloaded_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Hub() as hub:
        url = hub.serve("words.txt", Answer(b"words"))
        write_dataset(tmp_path / "zoo", "words", dataset(file_entry("words.txt", b"words", url)))
        assert data_downloader(["--all", "-o", str(tmp_path)], [tmp_path / "zoo"]) == 0
    path = tmp_path / "datasets" / "words" / "words.txt"
    assert capsys.readouterr() == (f"{HEADING}========== Downloading {path}\n\n", "")
    assert path.read_bytes() == b"words"
    assert data_downloader(["--all", "-o", str(tmp_path)], [tmp_path / "zoo"]) == 0
    retained = f"{HEADING}========== Retained {path} (already there, checksum matches)\n\n"
    assert capsys.readouterr() == (retained, "")


def test_an_archive_is_unpacked_and_then_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "datasets" / "words"
    arguments = ["--name", "words", "-o", str(tmp_path)]
    with Hub() as hub:
        write_dataset(tmp_path / "zoo", "words", zipped(hub.serve("words.zip", Answer(archive()))))
        assert data_downloader(arguments, [tmp_path / "zoo"]) == 0
    assert capsys.readouterr().err == ""
    for name, text in TEXTS.items():
        assert (folder / name).read_bytes() == text
    assert not (folder / "words.zip").exists()
    assert data_downloader([*arguments, "--offline"], [tmp_path / "zoo"]) == 0
    assert data_downloader([*arguments, "--verify"], [tmp_path / "zoo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in TEXTS:
        assert f"OK {folder / name}\n" in out
    (folder / "words-raw/test.raw").write_bytes(b"THE END")
    assert data_downloader([*arguments, "--verify"], [tmp_path / "zoo"]) == 1
    out, err = capsys.readouterr()
    assert out.endswith("FAILED:\nwords\n")
    assert str(folder / "words-raw/test.raw") in err


def test_a_data_set_that_cannot_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path, "words", dataset(file_entry("words.txt", b"words", "http://127.0.0.1:1/words.txt")))
    assert data_downloader(["--all", "-o", str(tmp_path), "--num_attempts", "1"], [tmp_path]) == 1
    out, err = capsys.readouterr()
    path = tmp_path / "datasets" / "words" / "words.txt"
    assert out == f"{HEADING}========== Downloading {path}\n\nFAILED:\nwords\n"
    assert "http://127.0.0.1:1/words.txt" in err
    assert not path.exists()


def test_help_offers_the_engines_flags(run) -> None:
    done = run("omz_data_downloader", "--help")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for flag in ("cache_dir", "num_attempts", "progress_format", "jobs", "verify", "offline", "mirror", "dry_run",
                 "quiet", "models_dir", "output_dir", "name", "list", "all", "print_all", "version"):  # fmt: skip
        assert f"--{flag}" in text
    assert "models" not in text.replace("--models_dir", "")
    assert "--precisions" not in text
