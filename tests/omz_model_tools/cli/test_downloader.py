"""Every flag of omz_downloader: whole transcripts and exit codes."""

import json
import os
from pathlib import Path

import pytest

from omz_model_tools.cli.downloader import downloader
from omz_model_tools.common.version import version
from support.hub import Answer, Hub, Noise
from support.model_tree import descriptor, file_entry, write_model
from support.terminal import screen_of

HEADING = "################|| Downloading toy ||################\n\n"
TRUE = b"The poem was written by"


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def zoo(tmp_path: Path, **sources: str) -> list[Path]:
    """A tree with a model `toy`, whose files x, y … come from these URLs."""
    files = [file_entry(name, TRUE, source) for name, source in sources.items()]
    write_model(tmp_path / "zoo", "toy", descriptor(*files))
    return [tmp_path / "zoo"]


def test_who_asks(tmp_path: Path, hub: Hub) -> None:
    assert downloader(["--all", "-o", str(tmp_path)], zoo(tmp_path, x=hub.serve("x", Answer(TRUE)))) == 0
    assert hub.requests[0][1]["User-Agent"] == f"omz_downloader/{version()}"


def test_quiet_and_then_verified(tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    roots = zoo(tmp_path, x=hub.serve("x", Answer(TRUE)), y=hub.serve("y", Answer(TRUE)))
    folder = tmp_path / "public/toy"
    assert downloader(["--all", "-o", str(tmp_path), "--quiet", "-j", "2"], roots) == 0
    assert capsys.readouterr() == ("", "")
    assert downloader(["--all", "-o", str(tmp_path), "--verify"], roots) == 0
    assert capsys.readouterr() == (f"OK {folder}/x\nOK {folder}/y\n", "")
    (folder / "x").unlink()
    assert downloader(["--all", "-o", str(tmp_path), "--verify", "--quiet"], roots) == 1
    assert capsys.readouterr() == (
        "FAILED:\ntoy\n",
        f"########## Error: {folder}/x: expected a downloaded file, got none\n",
    )
    assert len(hub.requests) == 2


def test_events(tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    roots = zoo(tmp_path, x=hub.serve("x", Answer(status=404)))
    assert downloader(["--all", "-o", str(tmp_path), "--progress_format", "json"], roots) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["$type"] for line in out.splitlines()] == [
        "model_download_begin",
        "model_file_download_begin",
        "model_file_download_end",
        "model_download_end",
    ]
    assert err.startswith("########## Error: ")


def test_from_one_machine_to_another_by_the_cache(tmp_path: Path, hub: Hub) -> None:
    roots, cache = zoo(tmp_path, x=hub.serve("x", Answer(TRUE))), str(tmp_path / "cache")
    assert downloader(["--all", "-o", str(tmp_path / "here"), "--cache_dir", cache], roots) == 0
    assert downloader(["--all", "-o", str(tmp_path / "there"), "--cache_dir", cache, "--offline"], roots) == 0
    assert (tmp_path / "there/public/toy/x").read_bytes() == TRUE
    assert len(hub.requests) == 1


@pytest.mark.parametrize("by", ["flag", "variable", "both"])
def test_a_mirror(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    hub.serve("hf/gpt2/x", Answer(TRUE))
    roots = zoo(tmp_path, x="https://huggingface.co/gpt2/x")
    if by != "flag":
        monkeypatch.setenv("HF_ENDPOINT", hub.url("hf" if by == "variable" else "nowhere"))
    flags = [] if by == "variable" else ["--mirror", hub.url("hf/")]
    assert downloader(["--all", "-o", str(tmp_path), *flags], roots) == 0
    assert hub.asked() == ["/hf/gpt2/x"]


def test_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = zoo(tmp_path, x="https://huggingface.co/gpt2/x")
    for flag in ("--dry_run", "--dry-run"):
        assert downloader(["--all", "-o", str(tmp_path / "out"), flag, "--mirror", "http://m"], roots) == 0
        assert capsys.readouterr() == (
            "################|| (DRY RUN) Downloading toy ||################\n\n"
            f"========== (DRY RUN) Downloading {tmp_path}/out/public/toy/x\n23 bytes\nfrom http://m/gpt2/x\n\n"
            "toy: 23 bytes to fetch\n\nTotal: 23 bytes to fetch\n",
            "",
        )
    assert not (tmp_path / "out").exists()


def test_precisions(tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("FP16/x.xml", "FP32/x.xml", "x.txt")
    files = [file_entry(name, TRUE, hub.serve(name, Answer(TRUE))) for name in names]
    write_model(tmp_path / "zoo", "ir", descriptor(*files))
    roots = zoo(tmp_path, x=hub.serve("x", Answer(TRUE)))
    assert downloader(["--all", "-o", str(tmp_path), "--precisions", "FP32"], roots) == 0
    assert hub.asked() == ["/FP32/x.xml", "/x.txt", "/x"]
    capsys.readouterr()
    hub.requests.clear()
    assert downloader(["--name", "ir", "-o", str(tmp_path), "--precisions", "FP16-INT8"], roots) == 0
    assert capsys.readouterr() == ("========== Skipping ir (available in FP16, FP32 only)\n\n", "")
    assert hub.requests == []


REFUSED = {
    "--verify --dry_run": '"--verify" and "--dry_run" exclude each other',
    "--verify --offline": '"--verify" and "--offline" exclude each other',
    "--verify --mirror http://m": '"--verify" and "--mirror" exclude each other',
    "--verify --cache_dir c": '"--verify" and "--cache_dir" exclude each other',
    "--verify --num_attempts 3": '"--verify" and "--num_attempts" exclude each other',
    "--verify -j 3": '"--verify" and "--jobs" exclude each other',
    "--verify --progress_format json": '"--verify" and "--progress_format json" exclude each other',
    "--dry_run --progress_format json": '"--dry_run" and "--progress_format json" exclude each other',
    "--dry_run --quiet": '"--dry_run" and "--quiet" exclude each other',
    "--quiet --progress_format json": '"--quiet" and "--progress_format json" exclude each other',
    "--mirror m": "argument --mirror: expected an http or https URL, got 'm'",
    "-j 0": "argument -j/--jobs: expected a whole number from 1, got '0'",
    "--progress_format xml": "argument --progress_format: invalid choice: 'xml' (choose from ",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_makes_no_sense(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"\A2\Z"):
        downloader(["--all", *flags.split()])
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"omz_downloader: error: {REFUSED[flags]}")


def test_a_variable_that_is_no_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.com")
    assert downloader(["--all", "-o", str(tmp_path)], zoo(tmp_path, x="https://a/b")) == 1
    assert capsys.readouterr() == ("", "HF_ENDPOINT: expected an http or https URL, got 'hf-mirror.com'\n")


def test_unknown_precisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert downloader(["--all", "--precisions", "FP64"], zoo(tmp_path, x="https://a/b")) == 1
    assert capsys.readouterr().err.startswith("Unknown precisions specified: FP64. Known: FP16, ")


def test_a_broken_descriptor_does_not_keep_others_away(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = zoo(tmp_path, x=hub.serve("x", Answer(TRUE)))
    broken = write_model(tmp_path / "zoo", "broken", descriptor(framework="caffe3"))
    assert downloader(["--all", "-o", str(tmp_path)], roots) == 1
    out, err = capsys.readouterr()
    assert out == f"{HEADING}========== Downloading {tmp_path}/public/toy/x\n\nFAILED:\nbroken\n"
    assert err.startswith(f"########## Error: {os.path.relpath(broken)}: ") or str(broken) in err


@pytest.mark.parametrize("jobs", [1, 2])
def test_on_a_terminal_bars_leave_no_trace(tmp_path: Path, hub: Hub, jobs: int) -> None:
    """A second model follows, and a file that cannot be had: what is said in between finds its own lines."""
    slowly = {name: Noise(1_500_000, seed)[:] for seed, name in enumerate("xyz")}
    urls = {name: hub.serve(name, Answer(body, drip=(100_000, 0.02))) for name, body in slowly.items()}
    files = [file_entry(name, slowly[name], urls[name]) for name in "xy"]
    write_model(tmp_path / "zoo", "first", descriptor(*files))
    write_model(tmp_path / "zoo", "second", descriptor(file_entry("z", slowly["z"], [hub.url("none"), urls["z"]])))
    flags = ("--models_dir", "zoo", "--name", "first,second", "-j", jobs, "-o", "out")
    code, screen = screen_of("omz_downloader", *flags, cwd=tmp_path)
    assert code == 0
    assert screen == [
        "################|| Downloading first ||################",
        "========== Downloading out/public/first/x",
        "========== Downloading out/public/first/y",
        "################|| Downloading second ||################",
        "========== Downloading out/public/second/z",
        f"########## Error: {hub.url('none')} -> out/public/second/z: HTTP status 404 Not Found",
    ]


def test_events_on_a_terminal_have_no_bars_between_them(tmp_path: Path, hub: Hub) -> None:
    zoo(tmp_path, x=hub.serve("x", Answer(TRUE, drip=(5, 0.1))))
    flags = ("--models_dir", "zoo", "--name", "toy", "-o", "out", "--progress_format", "json")
    code, screen = screen_of("omz_downloader", *flags, cwd=tmp_path)
    assert code == 0
    assert "total" not in "".join(screen)
    assert screen[0].startswith('{"$type": "model_download_begin"')
