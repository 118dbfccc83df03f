"""The route through ONNX: what is announced and refused, and which models take it."""

import sys
from pathlib import Path

import pytest

from omz_model_tools.cli.converter import converter
from omz_model_tools.convert.onnx.route import export_command
from omz_model_tools.convert.route import Job
from omz_model_tools.descriptor.catalogue import packaged_root
from support.model_tree import load_models
from support.onnx_tree import convert, mo_line, names, write_mo, write_tree


def test_a_dry_run_of_each_maker(tmp_path, capsys):
    write_tree(tmp_path)
    (tmp_path / "public/toy/toy.onnx").unlink()
    before = names(tmp_path / "public/toy")
    folder = f"{tmp_path}/public/toy"
    heading = "========== (DRY RUN) Converting toy to IR (FP32)"
    line = f"Conversion by openvino.convert_model: {folder}/toy.onnx -> {folder}/FP32/toy.xml"
    assert convert(tmp_path, capsys, "--dry_run", "--precisions=FP32") == (0, [heading, line, ""], [])
    changed = ["--input_shape=[1,?]", "--output=y"]
    line = f"Conversion by openvino.convert_model: {folder}/toy.onnx, --input_shape=[1,?], --output=y -> "
    done = convert(tmp_path, capsys, "--dry_run", "--precisions=FP32", *changed)
    assert done == (0, [heading, f"{line}{folder}/FP32/toy.xml", ""], [])
    program = write_mo(tmp_path)
    done = convert(tmp_path, capsys, "--dry_run", "--precisions=FP32", "--mo", program)
    assert done == (0, [heading, mo_line(tmp_path, program), ""], [])
    done = convert(tmp_path, capsys, "--dry_run", "--precisions=FP32", "--mo", program, *changed, "--add_mo_arg=--more")
    line = mo_line(tmp_path, program, "'--input_shape=[1,?]'", "--output=y", shape="") + " --more"
    assert done == (0, [heading, line, ""], [])
    assert names(tmp_path / "public/toy") == before


def test_a_dry_run_of_an_export(tmp_path, capsys):
    exported = ["--output-file=$conv_dir/toy.onnx", "--model-path=$config_dir", "--model-param=dir=$dl_dir/a b"]
    given = {"framework": "pytorch", "recipe": "toy", "conversion_to_onnx_args": exported}
    write_tree(tmp_path, **given, model_optimizer_args=["--input_model=$conv_dir/toy.onnx"])
    folder, out = f"{tmp_path}/public/toy", f"{tmp_path}/out/public/toy"
    done = convert(tmp_path, capsys, "--route=onnx", "--dry_run", "--precisions=FP16", "-o", tmp_path / "out")
    words = f"--output-file={out}/toy.onnx --model-path={folder} '--model-param=dir={folder}/a b'"
    assert done == (
        0,
        [
            "========== (DRY RUN) Converting toy to ONNX",
            f"Conversion to ONNX command: {sys.executable} -m omz_model_tools.convert.onnx.export {words}",
            "",
            "========== (DRY RUN) Converting toy to IR (FP16)",
            f"Conversion by openvino.convert_model: {out}/toy.onnx -> {out}/FP16/toy.xml",
            "",
        ],
        [],
    )
    assert not (tmp_path / "out").exists()
    recipe = convert(tmp_path, capsys, "--dry_run", "--precisions=FP16")[1][1]
    assert recipe == f"Conversion recipe: toy ({folder}) -> {folder}/FP16/toy.xml"


def test_a_pre_convert_script_runs_before_the_conversion(tmp_path, capsys):
    """Open Model Zoo's densenet-121-tf, for one, makes there what Model Optimizer is given."""
    write_tree(tmp_path, model_optimizer_args=["--input_model=$conv_dir/made.onnx", "--x=$mo_ext_dir/y.json"])
    program, folder = write_mo(tmp_path), tmp_path / "public/toy"
    script = folder / "pre-convert.py"
    script.write_text(
        "import sys, pathlib\n_, dash, source, target = sys.argv\nprint('prepared')\n"
        "pathlib.Path(target, 'made.onnx').write_bytes(pathlib.Path(source, 'toy.onnx').read_bytes())\n"
    )
    heading = "Running pre-convert script for toy"
    command = f"Pre-convert command: {sys.executable} -- {script} -- {folder} {tmp_path}/out/public/toy"
    flags = ["--mo", program, "-o", tmp_path / "out", "--precisions=FP32"]
    code, out, err = convert(tmp_path, capsys, *flags, "--dry_run")
    assert (code, out[:4], err) == (
        0, [f"========== (DRY RUN) {heading}", command, "", "========== (DRY RUN) Converting toy to IR (FP32)"], []
    )  # fmt: skip
    assert f"--x={tmp_path}/y.json" in out[4]
    (tmp_path / "extensions").mkdir()
    code, out, err = convert(tmp_path, capsys, *flags)
    assert (code, out[:4], err) == (0, [f"========== {heading}", command, "prepared", ""], [])
    assert f"--x={tmp_path}/extensions/y.json" in out[5]
    assert "FP32" in names(tmp_path / "out/public/toy")
    script.write_text("print('no')\nraise SystemExit(3)\n")
    code, out, err = convert(tmp_path, capsys, *flags)
    assert (code, out[2], err) == (
        1, "no", [f"########## Error: {script}: expected exit code 0, got 3; what it said is above"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"model_optimizer_args": ["--mean_values=[1]"]}, "got '--mean_values=[1]'; give --mo for it"),
        ({"model_optimizer_args": []}, "toy: expected --input_model among the model_optimizer_args, got none"),
        ({"framework": "caffe"}, "toy: expected a model of ONNX or PyTorch, got caffe; give --mo for it"),
        ({"model_optimizer_args": ["--input_model=$no_dir/x"]}, "$mo_ext_dir, got '--input_model=$no_dir/x'"),
        ({"model_optimizer_args": ["--input_model=5$"]}, "$mo_ext_dir, got '--input_model=5$'"),
        (
            {"framework": "pytorch", "recipe": "toy", "model_optimizer_args": None},
            'expected "model_optimizer_args" for the route through ONNX, got no such key',
        ),
        (
            {"framework": "pytorch", "recipe": "toy"},
            'expected "conversion_to_onnx_args" for the route through ONNX, got no such key',
        ),
    ],
)
def test_a_descriptor_that_does_not_lead_through_onnx(tmp_path, capsys, changed, line):
    write_tree(tmp_path, **changed)
    code, out, err = convert(tmp_path, capsys, "--route=onnx", "--dry_run")
    assert (code, out, len(err)) == (1, ["", "FAILED:", "toy"], 1)
    assert err[0].endswith(line)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--route=direct", "--mo=x"], "--mo cannot be used with --route direct"),
        (["--route=direct", "-p", "x"], "--python cannot be used with --route direct"),
        (["--route=direct", "--output=x"], "--output cannot be used with --route direct"),
        (["--route=mo"], "argument --route: invalid choice: 'mo' (choose from"),
    ],
)
def test_flags_that_contradict_each_other(tmp_path, capsys, arguments, complaint):
    with pytest.raises(SystemExit, match=r"\A2\Z"):
        convert(write_tree(tmp_path), capsys, *arguments)
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_a_checkpoint_takes_the_direct_route(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"\A2\Z"):
        converter(["--checkpoint=x", "-o=y", "--route=onnx"])
    assert capsys.readouterr().err.endswith("--route cannot be used with --checkpoint\n")


def test_each_packaged_size_names_the_one_model_py():
    for model in load_models([packaged_root()]):
        if model.framework == "pytorch":
            folders = {"dl_dir": Path("/d"), "conv_dir": Path("/o"), "config_dir": model.descriptor.parent}
            command = export_command(Job(model, Path("/d"), Path("/o")), folders)
            (path,) = (word.partition("=")[2] for word in command if word.startswith("--model-path="))
            assert Path(path, "model.py").resolve() == (packaged_root() / "public/gpt-2/model.py").resolve()
            positions = model.input_info[0].shape[1]
            assert f"--input_shape=[?,1..{positions}]" in model.model_optimizer_args
