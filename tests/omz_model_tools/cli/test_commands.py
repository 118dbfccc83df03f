"""omz_downloader and omz_converter as a user runs them: whole transcripts and exit codes."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omz_model_tools.cli.converter import converter
from omz_model_tools.cli.downloader import downloader
from support import HANGS_AFTER, ROOT, toy_recipe
from support.command import COMMANDS, run_here
from support.hub import Answer, Hub
from support.model_tree import descriptor, file_entry, write_model

MAINS = {"omz_downloader": downloader, "omz_converter": converter}
MINI = ("config.json", "merges.txt", "model.safetensors", "vocab.json")


def run(name: str, *arguments: object, cwd: Path | None = None) -> tuple[int, str, str]:
    """The installed command, warnings being errors."""
    done = run_here(name, *arguments, cwd=cwd)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def names(tmp_path: Path, *models: str) -> list[Path]:
    """A tree with these models, each of one file that no one serves."""
    for name in models:
        write_model(tmp_path / "models", name, descriptor(file_entry("x", b"x", "http://127.0.0.1:1/x")))
    return [tmp_path / "models"]


@pytest.mark.parametrize("name", MAINS)
def test_print_all(name: str, tmp_path: Path) -> None:
    code, out, err = run(name, "--print_all", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert {"distilgpt2", "gpt-2", "gpt-2-mini", "gpt2-10"} < set(out.splitlines())


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], 'one of "--print_all", "--all", "--name" or "--list" must be specified'),
        (["--all", "--name", "x"], 'at most one of "--print_all", "--all", "--name" or "--list" can be specified'),
        (
            ["--print_all", "--list", "x"],
            'at most one of "--print_all", "--all", "--name" or "--list" can be specified',
        ),
        (["--qqq"], "--qqq: unknown flag; NAME -h lists them"),
        (["--nmae", "x"], "--nmae: unknown flag; did you mean --name?"),
        (["x"], "unrecognized arguments: x"),
    ],
)
def test_what_argparse_refuses(
    name: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        MAINS[name](arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{name}: error: {message}\n".replace("NAME", name)


@pytest.mark.parametrize("attempts", ["0", "-1", "x", "1.5", "²"])
def test_a_number_of_attempts_that_is_none(attempts: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"\A2\Z"):
        downloader(["--all", f"--num_attempts={attempts}"])
    message = f"argument --num_attempts: expected a whole number from 1, got {attempts!r}"
    assert capsys.readouterr().err == f"omz_downloader: error: {message}\n"


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--name", "nope"], 'No matching models: "nope"'),
        (["--name", "gpt-2,gpt-3*"], 'No matching models: "gpt-3*"'),
        (["--list", "nowhere.lst"], "nowhere.lst: No such file or directory"),
    ],
)
def test_a_users_mistake_is_one_line(name: str, arguments: list[str], line: str, tmp_path: Path) -> None:
    assert run(name, *arguments, cwd=tmp_path) == (1, "", f"{line}\n")
    assert list(tmp_path.iterdir()) == []


def test_unknown_precisions() -> None:
    assert run("omz_converter", "--all", "--precisions", "FP64,FP16,INT3") == (
        1, "", "Unknown precisions specified: FP64, INT3. "
        "Known: FP16, FP16-INT1, FP16-INT8, FP32, FP32-INT1, FP32-INT8, FP16-INT4, FP32-INT4.\n"
    )  # fmt: skip


@pytest.mark.parametrize("name", MAINS)
def test_a_broken_descriptor(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(tmp_path, "toy", descriptor(file_entry("x", b"", "https://a/b", size="548")))
    assert MAINS[name](["--all"], [tmp_path]) == 1
    complaint = f'{path}: files[0] "x": "size": expected a non-negative integer, got \'548\''
    assert capsys.readouterr() == ("FAILED:\ntoy\n", f"########## Error: {complaint}\n")


def test_the_embedded_model_downloaded_twice(tmp_path: Path) -> None:
    folder = f"{tmp_path}/public/gpt-2-mini/gpt2"
    heading = "################|| Downloading gpt-2-mini ||################\n\n"
    first = "".join(f"========== Downloading {folder}/{name}\n\n" for name in MINI)
    assert run("omz_downloader", "--name", "gpt-2-mini", "-o", tmp_path) == (0, heading + first, "")
    second = "".join(f"========== Retained {folder}/{name} (already there, checksum matches)\n\n" for name in MINI)
    assert run("omz_downloader", "--name", "gpt-2-mini", cwd=tmp_path) == (0, heading + second, "")
    embedded = ROOT / "models" / "public" / "gpt-2-mini"
    for name in MINI:
        assert Path(folder, name).read_bytes() == (embedded / name).read_bytes()


def test_a_list_of_models_and_an_output_folder_that_is_relative(tmp_path: Path) -> None:
    (tmp_path / "models.lst").write_text("# the demo's models\ngpt-2-mini # embedded\n")
    code, out, err = run("omz_downloader", "--list", "models.lst", "--output_dir", "new/folder", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "========== Downloading new/folder/public/gpt-2-mini/gpt2/config.json\n" in out
    assert sorted(path.name for path in (tmp_path / "new/folder/public/gpt-2-mini/gpt2").iterdir()) == list(MINI)


def test_every_model_has_its_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = names(tmp_path, "a", "c")
    with Hub() as hub:
        write_model(roots[0], "b", descriptor(file_entry("x", b"x", hub.serve("x", Answer(b"x")))))
        assert downloader(["--all", "-o", str(tmp_path), "--num_attempts", "1"], roots) == 1
    out, err = capsys.readouterr()
    place = f"{tmp_path}/public/%s/x"
    assert out == (
        "".join(
            f"################|| Downloading {name} ||################\n\n========== Downloading {place % name}\n\n"
            for name in "abc"
        )
        + "FAILED:\na\nc\n"
    )
    refused, url = "connection failed: Connection refused", "http://127.0.0.1:1/x"
    assert err == "".join(
        f"########## Error: {url} -> {place % name}: {refused}\n"
        f"########## Error: {place % name}: could not be downloaded\n"
        f"##########      {url}: {refused} (1 attempt)\n"
        f"##########      by hand: curl --fail --location --create-dirs --output {place % name} {url}\n"
        for name in "ac"
    )
    assert Path(place % "b").read_bytes() == b"x"


def test_the_converter_names_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = names(tmp_path, "a", "b")
    assert converter(["--all", "-d", str(tmp_path)], roots) == 1
    out, err = capsys.readouterr()
    assert out == "\n\nFAILED:\na\nb\n"
    assert err == "".join(
        f"########## Error: {tmp_path}/public/{name}/x: expected a downloaded file, got none; "
        f"run: omz_downloader --name {name} --models_dir {roots[0]} -o {tmp_path}\n"
        for name in "ab"
    )


def test_several_conversions_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe of each model waits for the other; what fails is named, and the output is that of one by one."""
    together = threading.Barrier(2)

    def build(folder: Path, checksums: Any) -> Any:
        together.wait(HANGS_AFTER)
        return toy_recipe.convert(folder, {})

    recipe = SimpleNamespace(convert=build, Problem=toy_recipe.Problem)
    files = {"weights.bin": bytes(8), "vocab.json": b"{}"}
    for name in ("a", "b", "c"):
        entries = [file_entry(file, content, "https://a/b") for file, content in files.items()]
        write_model(tmp_path / "models", name, descriptor(*entries))
        for file, content in files.items() if name != "b" else ():
            (tmp_path / "public" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "public" / name / file).write_bytes(content)
    flags = ["--all", "-d", str(tmp_path), "--precisions=FP32", "-j", "2"]
    assert converter(flags, [tmp_path / "models"], lambda name: recipe) == 1
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line[:1] in ("=", "F", "b")] == [
        "========== Converting a to IR (FP32)",
        "========== Converting c to IR (FP32)",
        "FAILED:",
        "b",
    ]
    assert err.startswith(f"########## Error: {tmp_path}/public/b/weights.bin: expected a downloaded file, got none")
    assert all((tmp_path / f"public/{name}/FP32/{name}.xml").is_file() for name in "ac")


@pytest.mark.parametrize(("jobs", "code"), [("auto", 0), ("1", 0), ("0", 2), ("many", 2)])
def test_the_number_of_conversions_at_once(jobs: str, code: int, tmp_path: Path) -> None:
    assert run("omz_converter", "--name", "gpt-2", "--dry_run", f"-j{jobs}", cwd=tmp_path)[0] == code


@pytest.mark.parametrize("flag", ["--dry_run", "--dry-run"])
def test_a_dry_run_of_a_model_that_was_never_downloaded(flag: str, tmp_path: Path) -> None:
    folder = f"{tmp_path}/public/gpt-2"
    expected = "".join(
        f"========== (DRY RUN) Converting gpt-2 to IR ({precision})\n"
        f"Conversion recipe: gpt2 ({folder}/gpt2) -> {folder}/{precision}/gpt-2.xml\n\n"
        for precision in ("FP16", "FP32")
    )
    assert run("omz_converter", "--name", "gpt-2", flag, cwd=tmp_path) == (0, expected, "")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, "toy", descriptor(file_entry("x", b"", "https://a/b"), recipe="gpt3"))
    (tmp_path / "public" / "toy" / "x").write_bytes(b"")
    assert converter(["--all", "-d", str(tmp_path)], [tmp_path]) == 1
    assert capsys.readouterr() == (
        "\nFAILED:\ntoy\n",
        "########## Error: \"recipe\": expected one that is installed (gpt2), got 'gpt3'\n",
    )


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves(name: str, unbuffered: str, tmp_path: Path) -> None:
    """As in `| head -1`: quiet, and not a success, whether the first line or only the end meets the closed pipe."""
    roots = names(tmp_path, *(f"model-{number:04}" for number in range(50)))
    command = MAINS[name].__name__
    program = f"import sys; from omz_model_tools.cli.{command} import {command} as command; "
    program += f"from pathlib import Path; sys.exit(command(['--print_all'], [Path({str(roots[0])!r})]))"
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(writer)
        err = process.communicate(timeout=HANGS_AFTER)[1]
    assert (process.returncode, err) == (141, b"")


def test_a_path_that_is_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    command = [os.fsencode(COMMANDS / "omz_downloader"), b"--name", b"gpt-2-mini", b"-o", folder]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"========== Downloading " + os.fsencode(tmp_path) + b"/\\udcff/public" in done.stdout
    assert Path(os.fsdecode(folder), "public/gpt-2-mini/gpt2/config.json").exists()


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && {COMMANDS / 'omz_downloader'} --name gpt-2-mini --dry_run"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "current directory: No such file or directory\n")
    gone.mkdir()
    done = subprocess.run(["sh", "-c", f"{command} -o {tmp_path}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", MAINS)
def test_help_explains_every_flag(name: str) -> None:
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    flags: set[Any] = set(re.findall(r"(?<!\S)--\w+", out))
    common = {"--help", "--version", "--name", "--list", "--all", "--print_all", "--models_dir", "--output_dir"}
    own = {
        "omz_downloader": {
            *("--num_attempts", "--precisions", "--cache_dir", "--jobs", "--mirror", "--offline"),
            *("--progress_format", "--quiet", "--verify", "--dry_run"),
        },
        "omz_converter": {
            *(
                "--download_dir",
                "--precisions",
                "--verify",
                "--dry_run",
                "--checkpoint",
                "--hub",
                "--peft_adapter",
                "--recipe",
                "--model_name",
            ),
            *("--jobs", "--route", "--input_shape", "--output", "--python", "--mo", "--add_mo_arg"),
        },
    }
    assert flags == common | own[name]


def test_the_converter_loads_neither_requests_nor_openvino_to_list_models() -> None:
    program = (
        "import sys; from omz_model_tools.cli.converter import converter; converter(['--print_all']); "
        "print(sorted({'requests', 'openvino', 'tqdm', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_embedded_model_converted(tmp_path: Path) -> None:
    assert run("omz_downloader", "--name", "gpt-2-mini", "-o", tmp_path)[0] == 0
    folder = f"{tmp_path}/public/gpt-2-mini"
    expected = "".join(
        f"========== Converting gpt-2-mini to IR ({precision})\n"
        f"Conversion recipe: gpt2 ({folder}/gpt2) -> {folder}/{precision}/gpt-2-mini.xml\n\n"
        for precision in ("FP16", "FP32")
    )
    assert run("omz_converter", "--name", "gpt-2-mini", "-d", tmp_path) == (0, expected, "")
    for precision in ("FP16", "FP32"):
        files = sorted(path.name for path in Path(folder, precision).iterdir())
        assert files == ["gpt-2-mini.bin", "gpt-2-mini.xml", "merges.txt", "tokenizer.json", "vocab.json"]
