"""Read OpenAI's own checkpoints, and those of gpt-2-simple, as config and weights under Hugging Face's names.

A folder with hparams.json, model.ckpt.* or model-STEP.*, and a file `checkpoint` that names the latest step.
"""

import re
from pathlib import Path

from gpt2_recipe.config import GPT2Config, config_of, positive_int
from gpt2_recipe.json_file import read_object
from gpt2_recipe.plain_file import require_plain_file
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.readers.tensorflow import read_bundle
from gpt2_recipe.tensor import StoredTensor

HPARAMS = "hparams.json"
FIELDS = {"n_vocab": "vocab_size", "n_ctx": "n_positions", "n_embd": "n_embd", "n_head": "n_head", "n_layer": "n_layer"}
"""Name of a field in hparams.json -> its name in config.json."""
PARAMETERS = {"g": "weight", "w": "weight", "b": "bias"}
VARIABLE = re.compile(r"model/(?:(wte|wpe)|(?:h(\d+)/)?([a-z]\w*(?:/[a-z]\w*)?)/([gwb]))")
OPTIMIZER = re.compile(r".*/(Adam|Adam_1|Momentum)")
"""The optimizer states that are stored with each variable."""


def read_hparams(path: Path) -> GPT2Config:
    """Read hparams.json, which has all settings of GPT-2 in OpenAI's code.

    Raises Problem if it is missing or broken.
    """
    fields = read_object(path)
    for name in FIELDS:
        positive_int(path, fields, name, 0)
    return config_of(path, {published: fields[name] for name, published in FIELDS.items()})


def latest_prefix(folder: Path) -> Path:
    """Return the path of the checkpoint's files without their suffixes.

    Raises Problem if there is none, or several and no file `checkpoint` that names one of them.
    """
    prefixes = sorted(path.name.removesuffix(".index") for path in folder.glob("model*.index"))
    named = _named_in(folder / "checkpoint")
    if named is not None and (named in prefixes or not prefixes):
        return folder / named
    if len(prefixes) != 1:
        got = f"got {', '.join(map(one_line, prefixes[:6]))}" if prefixes else "got none"
        raise Problem(f"{folder}: expected one model*.index, or a file `checkpoint` that names one; {got}")
    return folder / prefixes[0]


def read_openai(prefix: Path) -> dict[str, StoredTensor]:
    """Return the variables of the model under their published names; a Conv1D's leading axis of 1 is dropped."""
    found = {}
    for variable, tensor in read_bundle(prefix).items():
        if not variable.startswith("model/") or OPTIMIZER.fullmatch(variable):
            continue
        shape = tensor.shape[1:] if len(tensor.shape) == 3 and tensor.shape[0] == 1 else tensor.shape
        found[_published(variable)] = StoredTensor(tensor.dtype, shape, tensor.data)
    return found


def _published(variable: str) -> str:
    match = VARIABLE.fullmatch(variable)
    if match is None:
        return variable
    embedding, block, part, parameter = match.groups()
    if embedding:
        return f"{embedding}.weight"
    name = f"{part.replace('/', '.')}.{PARAMETERS[parameter]}"
    return name if block is None else f"h.{block}.{name}"


def _named_in(path: Path) -> str | None:
    """Return the file name in `checkpoint`, without the folder, which is one of the machine that wrote it."""
    require_plain_file(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r'^model_checkpoint_path: "(?:[^"\n]*[/\\])?([^"/\\\n]+)"', text, flags=re.MULTILINE)
    return match[1] if match else None
