"""accuracy_check: rows of Open Model Zoo's own accuracy_check on the same IR, its layout of files, its flags."""

import csv
import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.accuracy_check_cli import subset_size
from gpt2_tools.evaluate.accuracy_check_yml import DatasetSource, read_definitions
from gpt2_tools.evaluate.commands.accuracy_check import OMZ_COLUMNS
from gpt2_tools.evaluate.commands.omz_accuracy_check import append_csv
from gpt2_tools.evaluate.windows import omz_windows
from omz_model_tools.common import Problem as FileProblem
from support import DATA
from support.toy import Toy

MINI = Path(str(files("omz_models"))) / "public/gpt-2-mini/accuracy-check.yml"
HEADER = (
    "model,launcher,device,dataset,tags,metric_name,metric_type,metric_value,metric_target,metric_scale,metric_postfix,"
    "dataset_size,ref,abs_threshold,rel_threshold,profiling_file"
)
THEIRS = {
    "3": "gpt-2-mini,openvino,CPU,gpt_2_mini_heldout,,Perplexity,perplexity,0.985095202922821,higher-worse,100,%,3,"
    "0.8433,0,0,",
    "10%": "gpt-2-mini,openvino,CPU,gpt_2_mini_heldout,,Perplexity,perplexity,0.7652714252471924,higher-worse,100,%,6,"
    "0.8433,0,0,",
    "0.5%": "gpt-2-mini,openvino,CPU,gpt_2_mini_heldout,,Perplexity,perplexity,0.8539450764656067,higher-worse,100,%,1,"
    "0.8433,0,0,",
}
"""What accuracy_check of openvino-dev 2023.3.0, the last release with it, writes for our FP32 IR with this -ss."""
TOY = Toy()
CONFIG = """\
models:
  - name: other
    launchers:
      - framework: onnx_runtime
        model: gpt-2.onnx
    datasets:
      - name: Hay
        metrics: [{type: perplexity}]
  - name: toy
    launchers:
      - framework: openvino
        adapter: common_language_modeling
    datasets:
      - name: Hay
        metrics: [{type: perplexity, name: Perplexity, reference: 0.5, rel_threshold: 0.25}]
"""
DEFINITIONS = """\
datasets:
  - name: pictures
    data_source: ILSVRC2012_img_val
    annotation_conversion:
      converter: imagenet
      annotation_file: val.txt
    metrics: [{type: accuracy, top_k: 1}]
  - name: Hay
    annotation: hay.pickle
    annotation_conversion:
      converter: wikitext2raw
      vocab_file: gpt2/gpt2-vocab.json
      merges_file: gpt2/gpt2-merges.txt
      testing_file: hay/x.txt
      max_seq_length: 16
"""


def cells(line: str) -> dict[str, str]:
    return dict(zip(HEADER.split(","), next(csv.reader([line])), strict=True))


@pytest.fixture
def mini_source(mini_ir, tmp_path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for path in (DATA / "gpt-2-mini/heldout.txt", mini_ir.with_name("vocab.json"), mini_ir.with_name("merges.txt")):
        shutil.copy(path, source)
    return source


@pytest.mark.parametrize("size", THEIRS)
def test_a_row_is_that_of_open_model_zoo(run, mini, mini_source, tmp_path, size):
    """The metric to the rounding of another release of OpenVINO, every other column to the letter."""
    flags = ["-tf", "dlsdk", "-td", "CPU", "-ss", size, "--csv_result", "r.csv"]
    done = run("accuracy_check", "-c", MINI, "-m", mini / "FP32", "-s", mini_source, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    header, line = (tmp_path / "r.csv").read_bytes().decode().split("\r\n")[:2]
    ours, theirs = cells(line), cells(THEIRS[size])
    assert header == HEADER == ",".join(OMZ_COLUMNS)
    assert float(ours.pop("metric_value")) == pytest.approx(float(theirs.pop("metric_value")), rel=1e-5)
    assert ours == theirs


@pytest.mark.parametrize(("size", "count"), [("1", 1), ("5", 5), ("69", 69), ("70", 69), ("1%", 1), ("50%", 34)])
def test_a_subset_is_the_one_that_open_model_zoo_draws(size, count):
    windows = omz_windows(69 * 4, 4)
    np.random.seed(666)
    theirs = windows if count == len(windows) else list(np.random.choice(range(len(windows)), count, replace=False))
    expected = windows if count == len(windows) else [windows[i] for i in sorted(theirs)]
    assert subset_size(size)(windows) == expected
    assert len(expected) == count


@pytest.fixture
def zoo(tmp_path) -> Path:
    """Return a folder with a toy's IR without a tokenizer, and Open Model Zoo's config, definitions and data."""
    ir = TOY.ir(tmp_path / "made")
    for folder in ("public/toy/FP32", "data/gpt2", "data/hay"):
        (tmp_path / folder).mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        ir.with_suffix(suffix).rename(tmp_path / f"public/toy/FP32/toy{suffix}")
    for name in ("vocab.json", "merges.txt"):
        ir.with_name(name).rename(tmp_path / f"data/gpt2/gpt2-{name}")
    (tmp_path / "data/hay/x.txt").write_text("the rats ate the hay; so did another one.\n" * 3, encoding="utf-8")
    (tmp_path / "accuracy-check.yml").write_text(CONFIG)
    (tmp_path / "dataset_definitions.yml").write_text(DEFINITIONS)
    return tmp_path


@pytest.fixture
def check(run, zoo):
    """Return a function that runs the command in that folder."""
    given = ["-c", "accuracy-check.yml", "-m", "public/toy/FP32", "-s", "data", "-d", "dataset_definitions.yml"]
    return lambda *arguments: run("accuracy_check", *given, *arguments, cwd=zoo)


def results(done) -> list[dict]:
    assert done.returncode in (0, 1), done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])["results"]


@pytest.mark.parametrize("framework", ["dlsdk", "openvino"])
@pytest.mark.parametrize("written", ["dlsdk", "openvino"])
def test_both_names_of_openvino_and_the_layout_of_open_model_zoo(check, zoo, framework, written):
    (zoo / "accuracy-check.yml").write_text(CONFIG.replace("framework: openvino", f"framework: {written}"))
    (row,) = results(check("-tf", framework))
    assert (row["model"], row["launcher"], row["device"], row["dataset"]) == ("toy", "openvino", "CPU", "Hay")


def test_a_model_with_launchers_of_both_names_runs_once(check, zoo):
    line = "      - framework: openvino\n"
    both = CONFIG.replace(line, "      - framework: dlsdk\n" + line)
    (zoo / "accuracy-check.yml").write_text(both)
    (row,) = results(check("-tf", "dlsdk"))
    assert row["launcher"] == "openvino"


def test_the_tokenizer_may_lie_flat_below_the_source_or_beside_the_model(check, zoo):
    (first,) = results(check("-tf", "openvino"))
    for folder in ("data", "public/toy/FP32"):
        for path in zoo.glob("**/gpt2-*.*"):
            path.rename(zoo / folder / path.name)
        (row,) = results(check("-tf", "openvino"))
        assert row == first


def test_several_devices_and_models_and_the_file_grows(check, zoo):
    """Without a threshold in the config it is 0, without a reference nothing, as Open Model Zoo writes it."""
    config = CONFIG.replace(", reference: 0.5, rel_threshold: 0.25", "")
    (zoo / "accuracy-check.yml").write_text(config)
    shutil.copytree(zoo / "public/toy/FP32", zoo / "copy")
    flags = ["-tf", "openvino", "--csv_result", "r.csv"]
    rows = results(check(*flags, "-m", "public/toy/FP32", "copy/toy.xml", "-td", "cpu", "HETERO:CPU"))
    assert [row["device"] for row in rows] == ["CPU", "HETERO:CPU"] * 2
    (zoo / "accuracy-check.yml").write_text(CONFIG)
    rows += results(check(*flags))
    header, *lines = (zoo / "r.csv").read_bytes().decode().split("\r\n")[:-1]
    assert (header, len(lines)) == (HEADER, 5)
    words = [(row["ref"], row["abs_threshold"], row["rel_threshold"]) for row in map(cells, lines)]
    assert words == [("", "0", "0")] * 4 + [("0.5", "0", "0.25")]
    assert [float(cells(line)["metric_value"]) for line in lines] == [row["metric_value"] for row in rows]


def test_what_ctrl_c_cut_is_not_appended(tmp_path):
    row = dict.fromkeys(OMZ_COLUMNS)
    append_csv(tmp_path / "r.csv", [row | {"model": "whole"}, row | {"model": "part"}], 1)
    header, line, end = (tmp_path / "r.csv").read_bytes().decode().split("\r\n")
    assert (header, cells(line)["model"], end) == (HEADER, "whole", "")


@pytest.mark.parametrize("content", [b"a,b\r\n1,2\r\n", HEADER.encode() + b",result\r\n", b"\xff"])
def test_a_file_with_other_columns_is_left_as_it_is(check, zoo, content):
    path = zoo / "r.csv"
    path.write_bytes(content)
    done = check("-tf", "openvino", "--csv_result", "r.csv")
    assert (done.returncode, done.stdout, path.read_bytes()) == (1, b"", content)
    assert done.stderr.decode().startswith(f"r.csv: expected a CSV file with the columns {HEADER}, got ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 1, "\"framework\": expected one of dlsdk, openvino, got 'onnx_runtime'"),
        (["-tf", "tf"], 2, "argument -tf/--target_framework: invalid choice: 'tf'"),
        (
            ["-ss", "0"],
            2,
            "argument -ss/--subsample_size: expected a number of windows from 1, or a percentage such as",
        ),
        (["-ss", "nan%"], 2, "or a percentage such as 10%, got 'nan%'"),
        (["-ss", "1.5"], 2, "or a percentage such as 10%, got '1.5'"),
        (["-a", "annotations"], 2, "-a: unknown flag"),
        (["-tf", "openvino", "-d", "none.yml"], 1, "none.yml: No such file or directory"),
        (
            ["-tf", "openvino", "-m", "nowhere"],
            1,
            "nowhere: expected toy.xml, or public/toy/PRECISION/toy.xml, got neither",
        ),
        (["-tf", "openvino", "-s", "nowhere"], 1, "nowhere/hay/x.txt: No such file or directory"),
        (["-tf", "openvino", "-td", "NPU7"], 1, "NPU7"),
        (["-tf", "openvino", "--csv_result", "data"], 1, "data: expected a file or nothing, got a folder"),
    ],
)
def test_a_users_mistake_is_one_line(check, arguments, code, line):
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert line in done.stderr.decode().splitlines()[-1]
    assert code == 2 or len(done.stderr.splitlines()) == 1


def test_definitions_of_other_kinds_are_passed_over(tmp_path):
    path = tmp_path / "d.yml"
    path.write_text(DEFINITIONS)
    source = DatasetSource("hay/x.txt", "gpt2/gpt2-vocab.json", "gpt2/gpt2-merges.txt", 16)
    assert read_definitions(path) == {"Hay": source}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a mapping, got []"),
        ("launchers: []", '"datasets": expected a list, got nothing'),
        (
            DEFINITIONS.replace("length: 16", "length: x"),
            "\"max_seq_length\": expected a non-negative integer, got 'x'",
        ),
        (DEFINITIONS.replace("name: Hay", "name: 1"), '"name": expected a string, got 1'),
    ],
)
def test_broken_definitions(tmp_path, content, message):
    path = tmp_path / "d.yml"
    path.write_text(content)
    with pytest.raises((Problem, FileProblem)) as caught:
        read_definitions(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(message)


def test_a_data_set_that_the_definitions_lack(check, zoo):
    (zoo / "dataset_definitions.yml").write_text(DEFINITIONS.replace("name: Hay", "name: Straw"))
    done = check("-tf", "openvino")
    assert done.returncode == 1
    assert done.stderr.decode().endswith("\"name\": expected one of Straw, got 'Hay'\n")
