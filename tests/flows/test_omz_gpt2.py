"""Open Model Zoo's own gpt-2 by its own descriptor and model.py, from the download to the text, by every road.

Their bytes are those of openvino-dev 2024.6.0 (Apache 2.0); sizes, checksums and sources alone are of the stand-ins
that a local server has: a toy checkpoint, and wheels that hold just the lines that the descriptor edits.
"""

import hashlib
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import DATA, ROOT
from support.command import run_here
from support.hub import Answer, Hub
from support.model_optimizer_python import model_optimizer_python
from support.toy import Toy

torch = pytest.importorskip("torch", reason="needs torch: pip install 'omz-gpt2[onnx]'")

pytestmark = pytest.mark.extras("torch", "onnx")

TOY = Toy(n_positions=1024)
ORIGINAL = DATA / "omz/gpt-2"
CREATED = "made by the unpacked transformers"
GPT2 = f"""
class GPT2LMHeadModel:
    @staticmethod
    def from_pretrained(folder, use_cache):
        assert not use_cache
        print({CREATED!r})
        return create_model(folder)
"""


def wheels(steps: list[dict[str, Any]]) -> dict[str, bytes]:
    """Return the two wheels: modules that cannot be imported before the edits, and a GPT-2."""
    lines: dict[str, list[str]] = {}
    for step in steps:
        if step["$type"] == "regex_replace":
            lines.setdefault(step["file"], []).append(step["pattern"])
    contents = {name: "\n".join(found) + "\n" for name, found in lines.items()}
    contents["transformers/__init__.py"] += "from . import file_utils\n"
    contents["transformers/models/gpt2/__init__.py"] = (ROOT / "models/public/gpt-2/model.py").read_text() + GPT2
    return {
        "transformers-4.9.1-py3-none-any.whl": zipped(contents),
        "packaging-21.0-py3-none-any.whl": zipped({"packaging/__init__.py": ""}),
    }


def zipped(contents: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        for name, content in contents.items():
            opened.writestr(name, content)
    return out.getvalue()


def checkpoint(folder: Path) -> dict[str, bytes]:
    """Return the files of gpt2/, by their names."""
    TOY.write(folder)
    state = {f"transformer.{name}": torch.from_numpy(values.copy()) for name, values in TOY.state.items()}
    torch.save(state, folder / "pytorch_model.bin")
    names = ("pytorch_model.bin", "config.json", "vocab.json", "merges.txt")
    return {f"gpt2/{name}": (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Return a folder with models/, the tree of the descriptor, and public/gpt-2, downloaded by it."""
    root = tmp_path_factory.mktemp("omz")
    value = yaml.safe_load((ORIGINAL / "model.yml").read_bytes())
    contents = {**wheels(value["postprocessing"]), **checkpoint(root / "checkpoint")}
    with Hub() as hub:
        for file in value["files"]:
            content = contents[file["name"]]
            file["size"], file["checksum"] = len(content), hashlib.sha384(content).hexdigest()
            file["source"] = hub.serve(file["name"], Answer(content))
        folder = root / "models/public/gpt-2"
        folder.mkdir(parents=True)
        (folder / "model.yml").write_text(yaml.safe_dump(value, sort_keys=False))
        shutil.copy(ORIGINAL / "model.py", folder)
        done = run_here("omz_downloader", "--name=gpt-2", f"--models_dir={root / 'models'}", "-o", root)
        assert done.returncode == 0, done.stderr.decode()
    return root


@pytest.fixture(scope="module")
def text(run, tmp_path_factory) -> bytes:
    """Return what the demo writes with the recipe's own IR of the toy."""
    return demo(run, TOY.ir(tmp_path_factory.mktemp("direct")))


def demo(run, xml: Path) -> bytes:
    done = run("gpt2_text_prediction_demo", "-m", xml, "-i", "a test", "--temperature=0", "--max_sample_token_num=9")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def convert(run, *arguments: object) -> str:
    """Run omz_converter; return its stdout."""
    done = run("omz_converter", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_wheels_are_unpacked_and_edited(run, tree):
    folder = tree / "public/gpt-2"
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "gpt2",
        "packaging",
        "transformers",
    ]
    edited = (folder / "transformers/file_utils.py").read_text()
    assert edited.splitlines()[0] == "# from tqdm.auto import tqdm"
    assert edited.splitlines()[2] == "# from huggingface_hub import HfApi, HfFolder, None"
    again = run("omz_downloader", "--name=gpt-2", f"--models_dir={tree / 'models'}", "-o", tree)
    assert again.stdout.decode().count("Retained") == len(
        yaml.safe_load((ORIGINAL / "model.yml").read_bytes())["files"]
    )


@pytest.mark.parametrize("verify", [False, True])
def test_through_onnx_with_the_unpacked_transformers(run, tree, tmp_path, text, verify):
    flags = ["--verify"] if verify else []
    out = convert(run, "--name=gpt-2", "--models_dir", tree / "models", "-d", tree, "-o", tmp_path, *flags)
    assert CREATED in out.splitlines()
    folder = tmp_path / "public/gpt-2"
    for precision in ("FP16", "FP32"):
        assert sorted(path.name for path in (folder / precision).iterdir()) == [
            "config.json",
            "gpt-2.bin",
            "gpt-2.xml",
            "merges.txt",
            "vocab.json",
        ]
    assert demo(run, folder / "FP32/gpt-2.xml") == text


def test_by_model_optimizer(run, tree, tmp_path, text):
    flags = [f"--python={model_optimizer_python()}", "--precisions=FP32"]
    convert(run, "--name=gpt-2", "--models_dir", tree / "models", "-d", tree, "-o", tmp_path, *flags)
    assert demo(run, tmp_path / "public/gpt-2/FP32/gpt-2.xml") == text


def test_by_our_descriptor_without_another_download(run, tree, tmp_path, text):
    convert(run, "--name=gpt-2", "-d", tree, "-o", tmp_path, "--precisions=FP32")
    assert demo(run, tmp_path / "public/gpt-2/FP32/gpt-2.xml") == text


def test_as_a_checkpoint(run, tree, tmp_path, text):
    convert(run, "--checkpoint", tree / "public/gpt-2/gpt2", "-o", tmp_path, "--precisions=FP32")
    assert demo(run, tmp_path / "FP32/gpt2.xml") == text


def test_the_direct_route_says_that_it_has_no_recipe(run, tree, tmp_path):
    flags = ["--models_dir", tree / "models", "-d", tree, "-o", tmp_path, "--route=direct"]
    done = run("omz_converter", "--name=gpt-2", *flags)
    assert done.returncode == 1
    assert done.stderr.decode().endswith('expected a "recipe" for --route direct, got none; leave --route out\n')
