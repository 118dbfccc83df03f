"""Export a PyTorch model, made by a function of a module, to an ONNX file.

`python -m omz_model_tools.convert.onnx.export` takes the arguments of Open Model Zoo's conversion_to_onnx_args. Values
are plain text or Python literals: no argument is evaluated as code.
"""

import argparse
import ast
import hashlib
import importlib
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from omz_model_tools.common.guard import guarded
from omz_model_tools.common.own_names import remove_planted
from omz_model_tools.common.problem import Problem, check_onnx_path, disk_problems, one_line
from omz_model_tools.common.publish import publish_file, sync_folder, sync_tree

SAFE_SINCE = (2, 10)
"""Before, PyTorch's weights-only loader runs code of the file (CVE-2025-32434), or breaks memory (CVE-2026-24747)."""
DTYPES = ("bool", "double", "float", "half", "int32", "int8", "long", "short", "uint8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the export; exit code 1, with one line last on stderr, for an error that the user can fix."""
    return guarded(lambda: _export(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m omz_model_tools.convert.onnx.export", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model-name", required=True, metavar="FUNCTION", help="function or class making the model")
    parser.add_argument("--import-module", required=True, metavar="MODULE", help="module that has FUNCTION")
    paths = "folder in which imports are found first (default: only what is installed); can be given several times"
    parser.add_argument("--model-path", type=Path, metavar="DIR", action="append", default=[], help=paths)
    parameter = "argument of FUNCTION; can be given several times"
    parser.add_argument("--model-param", type=_pair, metavar="NAME=VALUE", action="append", default=[], help=parameter)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="state dict saved by torch.save")
    shapes = "shapes of the inputs to trace the model with, such as [1,1024]; of one input also 1,1024"
    parser.add_argument("--input-shapes", required=True, type=_shapes, metavar="SHAPE[,SHAPE...]", help=shapes)
    parser.add_argument(
        "--inputs-dtype", choices=DTYPES, default="float", help="dtype of inputs (default: %(default)s)"
    )
    parser.add_argument("--input-names", required=True, type=_names, metavar="NAME[,NAME...]", help="names of inputs")
    parser.add_argument("--output-names", required=True, type=_names, metavar="NAME[,NAME...]", help="names of outputs")
    parser.add_argument("--output-file", required=True, type=Path, metavar="FILE.onnx", help="ONNX file to write")
    conversion = "argument of torch.onnx.export; can be given several times"
    parser.add_argument(
        "--conversion-param", type=_pair, metavar="NAME=VALUE", action="append", default=[], help=conversion
    )
    parser.add_argument("--opset_version", type=int, default=11, help="ONNX opset (default: %(default)s)")
    return parser


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value  # a plain string


def _shapes(text: str) -> list[list[int]]:
    try:
        shapes = ast.literal_eval(f"[{text}]")
        if shapes and all(type(size) is int for size in shapes):  # 1,3,224,224, as Open Model Zoo often writes one
            shapes = [shapes]
        if not shapes or not all(type(size) is int and size >= 0 for shape in shapes for size in shape):
            raise ValueError(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise argparse.ArgumentTypeError(f"expected shapes such as [1,1024],[1,10], got {text!r}") from None
    return [list(shape) for shape in shapes]


def _names(text: str) -> list[str]:
    return text.split(",")


def _export(args: argparse.Namespace) -> int:
    with warnings.catch_warnings(), disk_problems(args.output_file):
        warnings.simplefilter("ignore")  # PyTorch's: that this exporter is old, and what a trace may miss
        target = args.output_file
        check_onnx_path(target)
        torch, onnx = _library("torch"), _library("onnx")
        model = _make(torch, args)
        folder = target.with_name(f".{target.name}.new")
        remove_planted(folder)
        if folder.exists():  # left by a killed run
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        try:
            _trace(torch, model, args, folder / target.name)
            del model
            gather_external_data(onnx, folder / target.name)
            _check(onnx, folder / target.name)
            publish(folder, target)
        finally:
            shutil.rmtree(folder)
    return 0


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Problem(f"conversion to ONNX: {error.name} is not installed; run: pip install 'omz-gpt2[onnx]'") from None


def _make(torch: Any, args: argparse.Namespace) -> Any:
    with _first_on_path(args.model_path):  # also while the model is created, which may import more
        module = _module(args.import_module, args.model_path)
        create = getattr(module, args.model_name, None)
        if create is None:
            raise Problem(f"{module.__file__}: expected a function or class {args.model_name}, got none")
        model = _run(module, lambda: create(**dict(args.model_param)), args.model_name)
        if args.weights is not None:
            if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_SINCE:
                expected = "PyTorch 2.10 or later, whose weights-only loader is safe"
                raise Problem(f"--weights: expected {expected}, got {torch.__version__}: pip install 'torch>=2.10'")
            loaded = torch.load(args.weights, map_location="cpu", weights_only=True)
            _run(module, lambda: model.load_state_dict(loaded), f"loading {args.weights}")
    return model.eval()


@contextmanager
def _first_on_path(folders: Sequence[Path]) -> Iterator[None]:
    """Search these folders before all others for whatever is imported inside the context."""
    before = sys.path
    sys.path = [*map(str, folders), *before]
    try:
        yield
    finally:
        sys.path = before


def _module(name: str, folders: Sequence[Path]) -> ModuleType:
    """Import the module from the first folder that has it, else the installed one."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            places = ", ".join(map(str, folders)) or "what is installed"
            raise Problem(f"--import-module: expected a module {name} in {places}, got none") from None
        traceback.print_exc()
        raise Problem(f"--import-module: importing {name} raised {_named(error)}") from error


def _run(module: ModuleType, action: Any, what: str) -> Any:
    """Run code of the module; if it fails, print its traceback and raise Problem with one line.

    An exception of the module's own class `Problem`, if it has one, is an error of the user: no traceback.
    """
    try:
        return action()
    except Exception as error:
        if isinstance(error, getattr(module, "Problem", ())):
            raise Problem(one_line(error)) from error
        traceback.print_exc()
        raise Problem(f"{module.__file__}: {what} raised {_named(error)}") from error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _trace(torch: Any, model: Any, args: argparse.Namespace, path: Path) -> None:
    inputs = tuple(torch.zeros(shape, dtype=getattr(torch, args.inputs_dtype)) for shape in args.input_shapes)
    # The newer exporter (dynamo) needs onnxscript and takes other options than the descriptors that exist.
    options = {"dynamo": False, "opset_version": args.opset_version, **dict(args.conversion_param)}
    names = {"input_names": args.input_names, "output_names": args.output_names}
    try:
        with torch.no_grad():
            torch.onnx.export(model, inputs, str(path), **names, **options)
    except OSError:
        raise
    except Exception as error:
        traceback.print_exc()
        reason = one_line(error)[:300]
        raise Problem(f"torch.onnx.export of {args.model_name}: {type(error).__name__}: {reason}") from error


def gather_external_data(onnx: Any, path: Path) -> None:
    """Merge the files that PyTorch writes beside an ONNX model of more than 2 GB, one per tensor, into one.

    Its name has a hash of its content, so that an ONNX file never finds another version's data under the same name.
    """
    parts = [other for other in path.parent.iterdir() if other != path]
    if not parts:
        return
    model = onnx.load(path)
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(tensor.name.encode() + tensor.raw_data)
    for part in parts:
        part.unlink()
    location = f"{path.stem}.{digest.hexdigest()[:16]}.data"
    onnx.save_model(model, path, save_as_external_data=True, location=location)


def _check(onnx: Any, path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # ValidationError is a name of different modules in different releases
        raise Problem(f"{path}: is no ONNX model that onnx.checker accepts: {one_line(error)[:300]}") from error


def publish(folder: Path, target: Path) -> None:
    """Publish the external data, if there is any, then the ONNX file; then remove data of earlier versions."""
    sync_tree(folder)
    data = [path for path in folder.iterdir() if path.name != target.name]
    for path in data:
        publish_file(path, target.with_name(path.name))
    publish_file(folder / target.name, target)
    for old in target.parent.glob(f"{target.stem}.????????????????.data"):
        if old.name not in {path.name for path in data}:
            old.unlink()
    sync_folder(target.parent)


if __name__ == "__main__":
    sys.exit(main())
