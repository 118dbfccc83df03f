"""Say what a folder is that the recipe does not read, and the way on: for the line of an error."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from gpt2_recipe.problem import one_line

CHECKPOINT_FILES = ("config.json", "hparams.json", "adapter_config.json", "ckpt.pt")
DEPTH = 3
"""How far below a folder a checkpoint is looked for: a cache of the hub has models--ORG--NAME/snapshots/REVISION."""
LLM_C = (20240326).to_bytes(4, "little")
"""The first bytes of llm.c's files of weights."""
SAVE = "load it with transformers 4, by GPT2LMHeadModel.from_pretrained(DIR, {}=True), and save_pretrained it"
ELSEWHERE = "convert the checkpoint that it was made from"
KINDS = {
    r".*\.gguf": f"a GGUF file of llama.cpp; {ELSEWHERE}",
    r"adapter_model\.(safetensors|bin)": "an adapter without its adapter_config.json; fetch that too",
    r"tf_model.*\.h5": f"weights of TensorFlow; {SAVE.format('from_tf')}",
    r"flax_model.*\.msgpack": f"weights of Flax; {SAVE.format('from_flax')}",
    r"zero_to_fp32\.py|global_step\d+": (
        "a checkpoint of DeepSpeed in parts; run `python zero_to_fp32.py . . --safe_serialization` there"
    ),
    r"pytorch_model_fsdp.*": "a checkpoint of FSDP in parts; run `accelerate merge-weights {name} .` there",
    r".*\.distcp": "a part of a checkpoint of FSDP; run `accelerate merge-weights . OUT` there",
    r".*\.xml": "an IR of OpenVINO already; give it to the demo with -m",
    r".*\.onnx": f"a model in ONNX; {ELSEWHERE}",
    r"model.*\.(index|meta|data-\d+-of-\d+)": "weights of OpenAI's code without their hparams.json; fetch that too",
}
"""Pattern of a name in a folder -> what it is, and the way on."""
LISTED = 6


def without_config(folder: Path) -> str:
    """Return what a folder is that has neither a config.json nor weights that are read."""
    names = _names(folder)
    if not names:
        return "is empty"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        _above_a_checkpoint(folder)
        or without_weights(folder)
        or f"holds no checkpoint, but {', '.join(map(one_line, names[:LISTED]))}{more}"
    )


def without_weights(folder: Path) -> str | None:
    """Return what a folder has in place of the weights that are read; None if nothing is known."""
    names = _names(folder)
    return _llm_c(folder, names) or kind_of(names) or _above_a_checkpoint(folder)


def _above_a_checkpoint(folder: Path) -> str | None:
    below = next(_checkpoints_below(folder, DEPTH), None)
    return None if below is None else f"holds no checkpoint itself; give --checkpoint {below}"


def kind_of(names: Collection[str]) -> str | None:
    """Return what files of these names are in place of the weights that are read; None if nothing is known."""
    for pattern, kind in KINDS.items():
        found = next((name for name in sorted(names) if re.fullmatch(pattern, name)), None)
        if found is not None:
            return f"holds {one_line(found)}, {kind.format(name=one_line(found))}"
    return _other_name(names)


def _llm_c(folder: Path, names: list[str]) -> str | None:
    for name in names:
        if name.endswith(".bin") and (folder / name).is_file():
            with (folder / name).open("rb") as file:
                if file.read(len(LLM_C)) == LLM_C:
                    command = f"python dev/eval/export_hf.py --input {one_line(name)} --output OUT"
                    return f"holds {one_line(name)}, weights of llm.c; run its `{command}`"
    return None


def _other_name(names: Collection[str]) -> str | None:
    """Name the one file of weights whose name is not the usual one, such as that of a variant, model.fp16.safetensors.

    transformers reads one only where it is asked to by `variant`.
    """
    found = [name for name in names if name.endswith((".safetensors", ".fp16.bin", ".bf16.bin"))]
    if len(found) != 1:
        return None
    usual = "model.safetensors" if found[0].endswith(".safetensors") else "pytorch_model.bin"
    return f"holds {one_line(found[0])}; if these are its weights, rename it to {usual}"


def _checkpoints_below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders of checkpoints below one: a cache's main revision and a trainer's last step first."""
    main = folder.parent / "refs/main"  # where `folder` is snapshots/
    revision = main.read_text(errors="replace").strip() if main.is_file() else ""
    below = [folder / name for name in _names(folder) if not name.startswith(".") and (folder / name).is_dir()]
    for path in sorted(below, key=lambda path: (path.name != revision, -_step(path.name), path.name)):
        if any((path / name).is_file() for name in CHECKPOINT_FILES):
            yield path
    for path in below:
        if depth > 1:
            yield from _checkpoints_below(path, depth - 1)


def _step(name: str) -> int:
    """Return N of checkpoint-N, as transformers' Trainer names its folders; -1 of other names."""
    match = re.fullmatch(r"checkpoint-(\d{1,18})", name)
    return int(match[1]) if match else -1


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:  # not a folder, or not for us to read
        return []
