"""omz_info_dumper as a user runs it: whole transcripts and exit codes."""

import json
import re
from pathlib import Path

import pytest

from omz_model_tools.cli.info_dumper import info_dumper
from omz_model_tools.descriptor.catalogue import MODELS, find, packaged_root
from support.model_tree import descriptor, file_entry, write_model

TOLD = """\
[
    {
        "name": "toy",
        "composite_model_name": null,
        "description": "A toy, \\u03b1.",
        "framework": "pytorch",
        "license_url": "https://example.invalid/LICENSE",
        "accuracy_config": null,
        "model_config": "FOLDER/public/toy/model.yml",
        "precisions": [
            "FP16",
            "FP32"
        ],
        "subdirectory": "public/toy",
        "task_type": "text_prediction",
        "input_info": [],
        "model_stages": [],
        "recipe": "toy",
        "download_size": 3,
        "files": [
            {
                "name": "x",
                "size": 3,
                "checksum": {
                    "$type": "sha256",
                    "value": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                },
                "sources": [
                    "https://a/b"
                ],
                "original_source": null
            }
        ]
    }
]
"""


def test_the_whole_transcript(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = descriptor(file_entry("x", b"abc", "https://a/b"), description="A toy, α.")
    write_model(tmp_path, "toy", toy)
    assert info_dumper(["--all"], [tmp_path]) == 0
    assert capsys.readouterr() == (TOLD.replace("FOLDER", str(tmp_path)), "")


def test_the_installed_command(run, tmp_path: Path) -> None:
    done = run("omz_info_dumper", "--all", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    infos = json.loads(done.stdout)
    assert [model["name"] for model in infos] == [entry.name for entry in find(MODELS, [packaged_root()])]
    assert run("omz_info_dumper", "--print_all", cwd=tmp_path).stdout.decode().split() == [
        model["name"] for model in infos
    ]


def test_only_what_is_asked_for_and_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        write_model(tmp_path, name, descriptor())
    assert info_dumper(["--name", "c,a"], [tmp_path]) == 0
    out, err = capsys.readouterr()
    assert ([model["name"] for model in json.loads(out)], err) == (["c", "a"], "")


def test_a_broken_descriptor_leaves_the_others_in_the_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(tmp_path, "broken", descriptor(license=None))
    write_model(tmp_path, "toy", descriptor())
    assert info_dumper(["--all"], [tmp_path]) == 1
    out, err = capsys.readouterr()
    assert [model["name"] for model in json.loads(out)] == ["toy"]
    assert err == f'########## Error: {path}: "license": expected a value, got no such key\n'


def test_an_unknown_name(run, tmp_path: Path) -> None:
    done = run("omz_info_dumper", "--name", "gpt2", cwd=tmp_path)
    line = b'No matching models: "gpt2"; did you mean gpt-2? --print_all lists them\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", line)


def test_the_specification_of_gpt_2_mini_is_what_is_counted(run, mini: Path) -> None:
    """The command that stands below the table in its README, run where the IRs are."""
    page = (packaged_root() / "public/gpt-2-mini/README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^omz_info_dumper (.+ --with_stats)$", page, flags=re.M)
    done = run("omz_info_dumper", *command.split(), cwd=mini.parents[1])
    assert (done.returncode, done.stderr) == (0, b"")
    (info,) = json.loads(done.stdout)
    assert info.pop("stats") == {
        "gflops": float(re.search(r"\| GFlops +\| (.+?) ", page)[1]),
        "mparams": float(re.search(r"\| MParams +\| (.+?) ", page)[1]),
        "input_shapes": {"input": [1, 512]},
        "counted": {"MatMul": 21, "ScaledDotProductAttention": 5},
        "model": str(mini / "FP16/gpt-2-mini.xml"),
    }
    assert [info] == json.loads(run("omz_info_dumper", "--name", "gpt-2-mini").stdout)


def test_stats_at_another_shape(run, mini: Path) -> None:
    arguments = ["--name", "gpt-2-mini", "--with_stats", "--model_dir", mini.parents[1], "--input_shape", "[2,1]"]
    (info,) = json.loads(run("omz_info_dumper", *arguments).stdout)
    # 2 rows of one token: 2 * 2 * (12 * 5 * 256^2 + 8192 * 256) + 2 * 4 * 5 * 256
    assert (info["stats"]["gflops"], info["stats"]["input_shapes"]) == (0.0241, {"input": [2, 1]})


def test_a_model_that_is_not_converted_has_no_stats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, "toy", descriptor())
    write_model(tmp_path, "other", descriptor())
    assert info_dumper(["--all", "--with_stats", "--model_dir", str(tmp_path)], [tmp_path]) == 1
    out, err = capsys.readouterr()
    assert [(one["name"], one["stats"]) for one in json.loads(out)] == [("other", None), ("toy", None)]
    lines = [
        f"########## Error: {tmp_path}/public/{name}/FP16/{name}.xml: expected an IR, got none; "
        f"run: omz_converter --name {name} --models_dir {tmp_path} -d {tmp_path}\n"
        for name in ("other", "toy")
    ]
    assert err == "".join(lines)


@pytest.mark.parametrize("shape", ["1,1024", "[1,?]", "[1,1..1024]", "[]", "[a]"])
def test_a_shape_that_is_none(run, shape: str) -> None:
    done = run("omz_info_dumper", "--name", "gpt-2-mini", "--with_stats", "--input_shape", shape)
    said = done.stderr.decode().splitlines()[-1]
    assert (done.returncode, done.stdout) == (2, b"")
    assert said.endswith(f"argument --input_shape: expected whole numbers, such as [1,1024], got {shape!r}")
