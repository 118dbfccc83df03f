"""The packaged descriptors against facts typed by hand, the published configurations, and arithmetic."""

import hashlib
import json
import re
from typing import Any

import numpy as np
import openvino as ov
import pytest
import yaml

from omz_model_tools.descriptor.catalogue import packaged_root
from omz_model_tools.descriptor.model import HttpSource, Model, ModelFile
from support import DATA
from support.model_tree import descriptor, file_entry, load_models, write_model
from support.toy import EXACT, Toy, assert_close

MODELS = {model.name: model for model in load_models([packaged_root()])}
FOLDERS = packaged_root() / "public"
CONFIGS = DATA / "configs"

HUB = "https://huggingface.co"
OMZ = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2023.2/gpt-2"
GPT2 = f"{HUB}/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e"
CHECKPOINTS = {
    "gpt-2": GPT2,
    "gpt-2-medium": f"{HUB}/openai-community/gpt2-medium/resolve/6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "gpt-2-large": f"{HUB}/openai-community/gpt2-large/resolve/32b71b12589c2f8d625668d2335a01cac3249519",
    "gpt-2-xl": f"{HUB}/openai-community/gpt2-xl/resolve/15ea56dee5df4983c59b2538573817e1667135e2",
    "distilgpt2": f"{HUB}/distilbert/distilgpt2/resolve/2290a62682d06624634c1f46a6ad5be0f47f38aa",
}
WEIGHTS = {  # bytes, None where they are not certain; SHA-256
    "gpt-2": (548105171, "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"),
    "gpt-2-medium": (1519984962, "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd"),
    "gpt-2-large": (None, "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce"),
    "gpt-2-xl": (None, "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a"),
    "distilgpt2": (352824413, "e1ff18884359fe8beb795a5f414feb85a6ce3d929ad019c0d958c039d2b94a1b"),
}
TENSORS = {"gpt-2": 160, "gpt-2-medium": 316, "gpt-2-large": 472, "gpt-2-xl": 628, "distilgpt2": 82}
ONNX = {
    "gpt2-10": (548227537, "a4b41071a9fd8fd5591d74d6c7e3a850feaf161f7289148a3b845c84f75c55e0"),
    "gpt2-lm-head-10": (664871060, "12fbb1ec2d2d70c8ebd21a290a348a4109447b98582af64c6f93b6526d5c8f35"),
}
TOKENIZER = {  # bytes, SHA-384, the same for all
    "merges.txt": (
        456318,
        "f91aa09e8551d2e001b4d6d0bf9a350a194ffe19397b913094c5ad8da940093894fd4064fce8edde9792b3474c107038",
    ),
    "vocab.json": (
        1042301,
        "43e578a41ade90c90c71fdc4bfc1457c2e288c0450b872f3fb4a27e9521cadcf881aa6f24e5fae208277d4134991c7b0",
    ),
}
MIT = "https://github.com/openai/gpt-2/blob/master/LICENSE"
APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
MASK = 1024 * 1024


def config_of(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_bytes())
    return loaded


def parameters_of(config: dict[str, Any]) -> int:
    """Counted tensor by tensor, as transformers' GPT2LMHeadModel has them, its head tied."""
    width, inner = config["n_embd"], 4 * config["n_embd"]
    attention = width * 3 * width + 3 * width + width * width + width
    feed_forward = width * inner + inner + inner * width + width
    block = attention + feed_forward + 2 * (width + width)  # and two layer norms
    ends = config["vocab_size"] * width + config["n_positions"] * width + width + width
    return int(config["n_layer"]) * block + ends


def facts(file: ModelFile) -> tuple[int | None, str, str]:
    return file.size, file.checksum.algorithm, file.checksum.digest


def page_of(name: str) -> str:
    return (FOLDERS / name / "README.md").read_text(encoding="utf-8")


def files_of(model: Model) -> dict[str, ModelFile]:
    return {str(file.name): file for file in model.files}


def test_there_are_these_models_and_no_others() -> None:
    assert sorted(MODELS) == sorted([*CHECKPOINTS, *ONNX, "gpt-2-mini"])
    assert sorted(path.name for path in FOLDERS.iterdir() if not path.name.startswith("__")) == sorted(MODELS)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoints_files_are_those_of_the_facts(name: str) -> None:
    files = files_of(MODELS[name])
    assert list(files) == [f"gpt2/{file}" for file in ("config.json", "merges.txt", "model.safetensors", "vocab.json")]
    size, sha256 = WEIGHTS[name]
    assert facts(files["gpt2/model.safetensors"]) == (size, "sha256", sha256)
    for file, (length, sha384) in TOKENIZER.items():
        assert facts(files[f"gpt2/{file}"]) == (length, "sha384", sha384)
    config = (CONFIGS / f"{name}.json").read_bytes()
    assert facts(files["gpt2/config.json"]) == (len(config), "sha384", hashlib.sha384(config).hexdigest())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoints_sources_are_pinned_and_the_tokenizer_has_a_mirror(name: str) -> None:
    for path, file in files_of(MODELS[name]).items():
        last = path.removeprefix("gpt2/")
        mirrored = last in TOKENIZER or (name == "gpt-2" and last == "config.json")
        expected = [f"{CHECKPOINTS[name]}/{last}"] + [f"{OMZ}/{last}"] * mirrored
        assert [str(source) for source in file.sources] == expected


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_a_checkpoint_is(name: str) -> None:
    model = MODELS[name]
    assert (model.framework, model.recipe, model.task_type) == ("pytorch", "gpt2", "text_prediction")
    assert model.license == (APACHE if name == "distilgpt2" else MIT)
    (tokens,) = model.input_info
    assert (tokens.name, tokens.shape, tokens.layout) == ("input", (1, config_of(name)["n_positions"]), "NS")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_weight_files_size_is_that_of_its_tensors_and_a_header(name: str) -> None:
    """Every published file is F32, with a mask of 1024 x 1024 in each block, and some 90 bytes a tensor's name."""
    config = config_of(name)
    tensors = 4 * (parameters_of(config) + config["n_layer"] * MASK)
    assert TENSORS[name] == 13 * config["n_layer"] + 4
    size = WEIGHTS[name][0]
    if size is None:
        assert 3.2e9 < tensors < 6.5e9
        stated = re.search(r"The download is about ([0-9.]+) GB", page_of(name))
        assert stated is not None
        assert float(stated[1]) == round(tensors / 1e9, 2)
    else:
        assert 60 * TENSORS[name] < size - tensors < 120 * TENSORS[name]


@pytest.mark.parametrize("name", ["gpt-2-large", "gpt-2-xl"])
def test_the_most_bytes_of_a_weight_file_are_what_its_shapes_can_need(name: str) -> None:
    """In F32, with a head of its own, the masks that older files have, and long names."""
    config = config_of(name)
    head = config["vocab_size"] * config["n_embd"]
    needed = 4 * (parameters_of(config) + head + config["n_layer"] * (MASK + 1)) + 200 * (TENSORS[name] + 1)
    most = files_of(MODELS[name])["gpt2/model.safetensors"].max_size
    assert most is not None
    assert needed < most < 1.05 * needed


@pytest.mark.parametrize("name", ONNX)
def test_a_model_of_the_onnx_zoo_is_that_of_the_facts(name: str) -> None:
    model, files = MODELS[name], files_of(MODELS[name])
    assert list(files) == [f"{name}.onnx", "merges.txt", "vocab.json"]  # flat, so that the tokenizer ends at the IR
    size, sha256 = ONNX[name]
    assert facts(files[f"{name}.onnx"]) == (size, "sha256", sha256)
    path = f"validated/text/machine_comprehension/gpt-2/model/{name}.onnx"
    assert [str(source) for source in files[f"{name}.onnx"].sources] == [
        f"https://media.githubusercontent.com/media/onnx/models/main/{path}",
        f"https://github.com/onnx/models/raw/main/{path}",
        f"https://huggingface.co/onnxmodelzoo/{name}/resolve/main/{name}.onnx",
    ]
    for file, (length, sha384) in TOKENIZER.items():
        assert facts(files[file]) == (length, "sha384", sha384)
        assert [str(source) for source in files[file].sources] == [f"{GPT2}/{file}", f"{OMZ}/{file}"]
    assert (model.framework, model.recipe) == ("onnx", None)
    assert model.model_optimizer_args == (f"--input_model=$dl_dir/{name}.onnx", "--input_shape=[?,?,1..1024]")
    (tokens,) = model.input_info
    assert (tokens.name, tokens.shape, ov.Layout(tokens.layout)) == ("input1", None, ov.Layout("[N,?,S]"))
    assert model.license == "https://github.com/onnx/models/blob/main/LICENSE"


def test_what_the_onnx_files_hold_beside_the_parameters() -> None:
    """As their README files say: masks of 4 bytes in one; a second head and masks of 1 byte in the other."""
    parameters = parameters_of(config_of("gpt-2"))
    assert 0 < ONNX["gpt2-10"][0] - 4 * (parameters + 12 * MASK) < 200_000
    assert 0 < ONNX["gpt2-lm-head-10"][0] - 4 * (parameters + 50257 * 768) - 12 * MASK < 200_000


@pytest.mark.parametrize("name", sorted(MODELS))
def test_only_what_is_certain_by_its_sha256_goes_without_a_size(name: str) -> None:
    unsized = [str(file.name) for file in MODELS[name].files if file.size is None]
    assert unsized == (["gpt2/model.safetensors"] if name in ("gpt-2-large", "gpt-2-xl") else [])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_source_is_https(name: str) -> None:
    for file in MODELS[name].files:
        for source in file.sources:
            assert not isinstance(source, HttpSource) or str(source).startswith("https://")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_readme_has_the_sections_of_gpt_2s(name: str) -> None:
    def headings(page: str) -> list[str]:
        return re.findall(r"^##+ .+$", page, flags=re.M)

    assert page_of(name).startswith(f"# {name}\n")
    assert headings(page_of(name)) == headings(page_of("gpt-2"))


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if name != "gpt-2"])
def test_a_readmes_memory_is_that_of_the_configuration(name: str) -> None:
    config = config_of(name)
    parameters = parameters_of(config)
    cache = 2 * 2 * config["n_layer"] * config["n_embd"]  # bytes a token: keys and values, f16
    fp16, fp32 = (f"{size * parameters / 1e6:.1f} MB in the FP{8 * size} " for size in (2, 4))
    assert f"The weights take {fp16}IR and {fp32}one" in page_of(name)
    assert f"in f16 takes {cache / 1e3:.1f} kB a token, {1024 * cache / 1e6:.1f} MB for all 1024." in page_of(name)


@pytest.mark.parametrize(("name", "width"), [("gpt2-10", 768), ("gpt2-lm-head-10", 50257)])
def test_an_onnx_readmes_numbers(name: str, width: int) -> None:
    page = page_of(name)
    head = 2 * 1024 * 50257 * 768 if name == "gpt2-lm-head-10" else 0
    products = head + 2 * 1024 * 12 * 12 * 768**2 + 4 * 12 * 1024**2 * 768
    assert re.search(rf"\| GFlops +\| {products / 1e9:.4f} ", page)
    assert re.search(rf"\| MParams +\| {parameters_of(config_of('gpt-2')) / 1e6:.4f} ", page)
    assert (
        f"take {1024 * width * 4 / 1e6:.1f} MB and the keys and values {12 * 2 * 1024 * 768 * 4 / 1e6:.1f} MB" in page
    )


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_readmes_download_is_the_sum_of_the_files(name: str) -> None:
    sizes = [file.size for file in MODELS[name].files]
    stated = re.search(r"The download is ([0-9.]+) (MB|GB)\.", page_of(name))
    if None in sizes:
        assert stated is None
    elif stated is not None:
        exact = sum(size for size in sizes if size is not None) / {"MB": 1e6, "GB": 1e9}[stated[2]]
        digits = len(stated[1].partition(".")[2])
        assert stated[1] == f"{exact:.{digits}f}"
    else:
        assert name in ("gpt-2", "gpt-2-mini")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_accuracy_check_has_a_reference_where_one_is_published(name: str) -> None:
    path = FOLDERS / name / "accuracy-check.yml"
    assert path.exists() == (name not in ONNX)
    if name not in ONNX:
        (model,) = yaml.safe_load(path.read_bytes())["models"]
        (dataset,) = model["datasets"]
        (metric,) = dataset["metrics"]
        assert (model["name"], metric["type"]) == (name, "perplexity")
        assert dataset["annotation_conversion"]["max_seq_length"] == (512 if name == "gpt-2-mini" else 1024)
        assert metric.get("reference") == {"gpt-2": 0.29, "gpt-2-mini": 0.8433}.get(name)


def test_a_new_size_is_a_new_folder_with_data_only(run, tmp_path):
    """An unpublished checkpoint, named by a user's descriptor, gives the oracle's logits."""
    toy = Toy(n_layer=5, n_head=3, n_embd=18, n_positions=24, vocab_size=290, dtype="F16", prefix="transformer.")
    folder = tmp_path / "zoo/public/gpt-2-micro"
    toy.write(folder)
    entries = [
        file_entry(f"gpt2/{path.name}", path.read_bytes(), {"$type": "file", "path": path.name})
        for path in sorted(folder.iterdir())
    ]
    write_model(tmp_path / "zoo", "gpt-2-micro", descriptor(*entries, recipe="gpt2"))
    for command in ("omz_downloader", "omz_converter"):
        done = run(command, "--name", "gpt-2-micro", "--models_dir", tmp_path / "zoo", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
    ids = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    compiled = ov.Core().compile_model(tmp_path / "public/gpt-2-micro/FP32/gpt-2-micro.xml", "CPU", EXACT)
    assert_close(compiled(ids)[0][0], toy.logits(ids[0]))
