"""A downloaded ONNX model, as the converter finds it, and a Model Optimizer in small."""

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omz_model_tools.cli.converter import converter
from support.model_tree import descriptor, file_entry, write_model

VOCAB = b'{"a": 0}'

# A Model Optimizer in small: it checks the file it is given and writes an IR of what its arguments say.
MO = """
    import json, sys, time
    from pathlib import Path
    import numpy, openvino
    from openvino import opset13 as ops

    arguments = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    print("arguments:", json.dumps(sys.argv[1:]))
    source = Path(arguments["--input_model"]).read_bytes()
    if source == b"wait":
        time.sleep(600)
    if source == b"nothing":
        sys.exit(0)
    if source != b"an onnx file":
        print("[ ERROR ]  cannot be read", file=sys.stderr)
        sys.exit(1)
    x = ops.parameter([1, 3], numpy.float32, name="x")
    y = ops.add(x, ops.constant(numpy.array([[0.1, 2, 3]], numpy.float32), name="c"), name="sum")
    y.output(0).set_names({"y"})
    model = openvino.Model([ops.result(y)], [x], "toy")
    folder = Path(arguments["--output_dir"])
    folder.mkdir(parents=True)
    path = folder / (arguments["--model_name"] + ".xml")
    openvino.save_model(model, path, compress_to_fp16=arguments["--compress_to_fp16"] == "True")
"""


def write_tree(root: Path, source: bytes = b"an onnx file", **changed: Any) -> Path:
    """Write a tree with the downloaded model toy, of the framework onnx."""
    value = descriptor(
        file_entry("toy.onnx", b"", "https://a/b", size=len(source)),
        file_entry("vocab.json", VOCAB, "https://a/b"),
        **{
            "framework": "onnx",
            "recipe": None,
            "input_info": [{"name": "x", "layout": "N?S", "shape": [1, 3]}],
            "model_optimizer_args": ["--input_model=$dl_dir/toy.onnx"],
            **changed,
        },
    )
    folder = write_model(root, "toy", value).parent
    folder.joinpath("toy.onnx").write_bytes(source)
    folder.joinpath("vocab.json").write_bytes(VOCAB)
    return root


def write_mo(root: Path) -> Path:
    """Write the program; return its path."""
    root.joinpath("mo.py").write_text(textwrap.dedent(MO))
    return root / "mo.py"


def write_onnx(path: Path, **options: Any) -> bytes:
    """Write a model of a = x + w, b = 2 a, made by the nodes first and 2nd; return its bytes. Needs onnx."""
    import onnx  # noqa: PLC0415
    from onnx import helper  # noqa: PLC0415

    x, a, b = (helper.make_tensor_value_info(name, 1, ["rows", 3]) for name in "xab")
    weights = {"w": np.array([[0.1, 2, 3]], np.float32), "two": np.array([2], np.float32)}
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()]
    nodes = [helper.make_node("Add", ["x", "w"], ["a"], "first"), helper.make_node("Mul", ["a", "two"], ["b"], "2nd")]
    opset = [helper.make_opsetid("", 10)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [a, b], tensors), opset_imports=opset)
    model.ir_version = 6
    onnx.save_model(model, path, **options)
    return path.read_bytes()


def convert(root: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], list[str]]:
    """Run omz_converter on toy; return its exit code and the lines of stdout and stderr."""
    code = converter(["--name", "toy", "-d", str(root), *map(str, arguments)], [root])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def mo_line(
    root: Path, program: Path, *arguments: str, shape: str = "'--input_shape=[1,3]'", fp16: bool = False
) -> str:
    """Return the line that announces the call of a Model Optimizer; `arguments` are the descriptor's and the user's."""
    folder = root / "public/toy"
    words = ["--framework=onnx", f"--output_dir={folder}/.omz_converter.scratch", "--model_name=toy", "--input=x"]
    words += [f"--input_model={folder}/toy.onnx", *arguments, "'--layout=x(N?S)'", *([shape] if shape else [])]
    return " ".join(["Conversion command:", sys.executable, "--", str(program), *words, f"--compress_to_fp16={fp16}"])
