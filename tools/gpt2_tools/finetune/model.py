"""The model that is trained: opened by the recipe's readers or new, with LoRA adapters or frozen parts."""

import glob
import json
import mmap
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_recipe import GPT2Config, match_weights, open_checkpoint, read_config
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.sizes import SIZES
from gpt2_tools.finetune.attention import use_attention
from gpt2_tools.finetune.settings import CLASSIFICATION, Settings

OTHER_NAMES = {
    "124M": "gpt-2",  # gpt-2-simple's
    "355M": "gpt-2-medium",
    "774M": "gpt-2-large",
    "1558M": "gpt-2-xl",
    "gpt2": "gpt-2",  # Hugging Face's
    "gpt2-medium": "gpt-2-medium",
    "gpt2-large": "gpt-2-large",
    "gpt2-xl": "gpt-2-xl",
}
SHAPE = re.compile(r"(\d{1,6})x(\d{1,6})x(\d{1,6}):(\d{1,9}):(\d{1,9})")
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
GENERATION_CONFIG = "generation_config.json"
BESIDE_WEIGHTS = (
    *("config.json", "hparams.json", GENERATION_CONFIG),
    *("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"),
)
"""What a checkpoint's folder may have that changes the model."""
BESIDE_ADAPTER = ".base_layer"
"""In the name of a weight that peft has put an adapter beside."""
LANGUAGE_MODEL = "GPT2LMHeadModel"
HEADS = ("lm_head.", "score.")


@dataclass(frozen=True)
class Base:
    """What is trained on: a checkpoint's folder, or None for a new model of this configuration.

    files: all that its configuration and its weights were read from.
    """

    config: GPT2Config
    dropouts: Mapping[str, float]
    folder: Path | None = None
    files: Sequence[Path] = ()

    def size(self) -> dict[str, Any]:
        """Return the fields that a checkpoint of the run must share."""
        return {
            name: getattr(self.config, name) for name in ("n_layer", "n_head", "n_embd", "vocab_size", "n_positions")
        }


def find_base(settings: Settings, stack: ExitStack) -> Base:
    """Return what --model or --from_scratch names; a packaged model's files exist until the stack ends.

    A classifier goes on as a classifier only.

    Raises Problem for a name or a folder that is neither a model of the zoo nor a checkpoint.
    """
    if settings.from_scratch is not None:
        return _new(settings.from_scratch, settings.vocab_size)
    folder = _folder_of(str(settings.model), stack)
    source = open_checkpoint(folder, any_task=settings.task == CLASSIFICATION)
    return Base(source.config, _dropouts(folder / "config.json"), folder, _files(folder, source.path))


def _files(folder: Path, weights: Path) -> list[Path]:
    """Return the files of a checkpoint, by name: weights, with all their shards; configurations; an adapter."""
    found = {weights}
    if weights.name.endswith(".index.json"):
        found |= {weights.with_name(shard) for shard in json.loads(weights.read_bytes())["weight_map"].values()}
    elif weights.suffix == ".index":  # OpenAI's
        found |= set(weights.parent.glob(f"{glob.escape(weights.stem)}.data-*"))
    found |= {place / name for place in (folder, weights.parent) for name in BESIDE_WEIGHTS}
    return sorted(path for path in found if path.is_file())


def _folder_of(model: str, stack: ExitStack) -> Path:
    if Path(model).is_dir():
        return Path(model)
    name = OTHER_NAMES.get(model, model)
    downloaded = Path("public") / name / "gpt2"
    if downloaded.is_dir():
        return downloaded
    packaged = stack.enter_context(as_file(files("omz_models") / "public"))
    plain = Path(name).name == name and name not in ("", ".", "..")
    if plain and (packaged / name / "model.safetensors").is_file():
        return packaged / name
    if plain and (packaged / name / "model.yml").is_file():
        raise Problem(f"--model: expected {downloaded}, got no such folder; run: omz_downloader --name {name}")
    raise Problem(f"--model: expected a model of the zoo or the folder of a checkpoint, got {model}")


def _new(given: str, vocab_size: int | None) -> Base:
    shape = SHAPE.fullmatch(given)
    if shape is not None:
        names = ("n_layer", "n_head", "n_embd", "vocab_size", "n_positions")
        fields: dict[str, Any] = dict(zip(names, map(int, shape.groups()), strict=True))
    elif given in SIZES or OTHER_NAMES.get(given) in SIZES:
        fields = {"n_positions": 1024, "vocab_size": 50257} | SIZES[OTHER_NAMES.get(given, given)]
    elif given.endswith(".json"):
        path = Path(given)
        return Base(_with_vocabulary(read_config(path), vocab_size), _dropouts(path), files=(path,))
    else:
        raise Problem(
            f"--from_scratch: expected {', '.join(SIZES)}, a shape such as 6x6x192:4096:256, or a config.json, "
            f"got {given}"
        )
    if min(fields.values()) < 1 or fields["n_embd"] % fields["n_head"]:
        raise Problem(f"--from_scratch: expected counts from 1 and a width that the heads divide, got {given}")
    config = GPT2Config(
        **fields,
        n_inner=4 * fields["n_embd"],
        layer_norm_epsilon=1e-5,
        activation_function="gelu_new",
        tie_word_embeddings=True,
        eos_token_ids=(),
    )
    return Base(_with_vocabulary(config, vocab_size), dict.fromkeys(DROPOUTS, 0.0))


def _with_vocabulary(config: GPT2Config, vocab_size: int | None) -> GPT2Config:
    size = config.vocab_size if vocab_size is None else vocab_size
    if size < 257:
        raise Problem(f"--from_scratch: expected 257 tokens or more, the bytes and the end of text, got {size}")
    return replace(config, vocab_size=size, eos_token_ids=(0,), bos_token_ids=(0,))


def _dropouts(path: Path) -> dict[str, float]:
    """Return the dropouts of a config.json that the recipe has read; OpenAI's checkpoints have none."""
    fields = json.loads(path.read_bytes()) if path.is_file() else dict.fromkeys(DROPOUTS, 0.0)
    found = {name: 0.1 if fields.get(name) is None else fields[name] for name in DROPOUTS}  # GPT2Config's
    for name, value in found.items():
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise Problem(f'{path}: "{name}": expected a number from 0 to 1, got {value!r}')
    return found


def load_model(base: Base, seed: int, kind: str = LANGUAGE_MODEL, **more: Any) -> Any:
    """Return the model, with the checkpoint's weights or new ones of this seed, in f32.

    kind: its class in transformers; more: other fields of its config.
    """
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    config = transformers.GPT2Config(**_fields(base), **more)
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config)
    if base.folder is not None:
        _copy_weights(base.folder, model)
    if config.activation_function == "gelu_new":
        blocks: Any = model.transformer.h
        for block in blocks:  # the same function in one kernel: less memory and time
            block.mlp.act = torch.nn.GELU(approximate="tanh")
    model.config.use_cache = False
    return model


def _copy_weights(folder: Path, model: Any) -> None:
    """Copy a checkpoint's weights into the f32 parameters of a model that has them, one by one; adapters stay."""
    source = open_checkpoint(folder, any_task=True)
    weights = match_weights(source.path, source.tensors, source.config)
    state = {name.replace(BESIDE_ADAPTER, ""): parameter for name, parameter in model.named_parameters()}
    for name, tensor in weights.items():
        parameter = state.get(name if name.startswith(HEADS) else f"transformer.{name}")
        if parameter is not None:  # a language model's head is none of a classifier's
            np.copyto(parameter.detach().numpy(), tensor.as_f32())
            _drop_pages(tensor.data)


def _drop_pages(mapped: Any) -> None:
    """Give back the memory of a mapped file, which is read again where it is needed: else it is there twice."""
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _fields(base: Base) -> dict[str, Any]:
    config = base.config
    same = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "layer_norm_epsilon")
    fields = {name: getattr(config, name) for name in (*same, "activation_function", "tie_word_embeddings")}
    ends, begins = list(config.eos_token_ids), list(config.bos_token_ids)
    fields["eos_token_id"] = ends if len(ends) > 1 else ends[0] if ends else None
    fields["bos_token_id"] = begins[0] if begins else None
    return {**fields, **base.dropouts}


def prepare(model: Any, settings: Settings) -> Any:
    """Return the model as it is trained: with adapters, or with frozen parts."""
    if settings.only_train_transformer_layers:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = ".h." in name or name.startswith("score.")
    if model.config.attn_pdrop:
        use_attention(model)
    if settings.gradient_checkpointing:
        _checkpoint_activations(model)
    if not settings.lora:
        return model
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415

    adapters = LoraConfig(
        r=settings.lora,
        lora_alpha=2 * settings.lora,
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        task_type="SEQ_CLS" if settings.task == CLASSIFICATION else "CAUSAL_LM",  # which trains score in full
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers 5.23 by a deprecated name
        adapted = get_peft_model(model, adapters)
    if settings.precision == "bf16":
        _narrow(model)
    return adapted


def _narrow(model: Any) -> None:
    """Keep the frozen weights in bf16 that autocast would round to it at every use: the same numbers, half the memory.

    Embeddings and layer norms are used in f32.
    """
    for parameter in _in_bf16(model):
        parameter.data = parameter.data.bfloat16()


def _restore(model: Any, folder: Path) -> None:
    """Undo _narrow, from the checkpoint."""
    import torch  # noqa: PLC0415

    narrowed = [parameter for parameter in _in_bf16(model) if parameter.dtype != torch.float32]
    if not narrowed:
        return
    for parameter in narrowed:
        parameter.data = parameter.data.float()
    _copy_weights(folder, model)


def _in_bf16(model: Any) -> Iterator[Any]:
    for name, parameter in model.named_parameters():
        if ".h." in name and ".ln_" not in name and not parameter.requires_grad:
            yield parameter


def _checkpoint_activations(model: Any) -> None:
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):  # the newer name
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def write_model(model: Any, base: Base, folder: Path, kind: str = LANGUAGE_MODEL) -> None:
    """Write config.json, model.safetensors and generation_config.json; adapters are merged before, in f32.

    kind: its class in transformers; a classifier has no generation_config.json.
    """
    if hasattr(model, "merge_and_unload"):
        assert base.folder is not None  # --lora and --from_scratch exclude each other
        _restore(model.base_model.model, base.folder)
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.config.architectures = [kind]
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)  # safetensors' is for its owner alone
    if kind == LANGUAGE_MODEL and base.folder is not None and (base.folder / GENERATION_CONFIG).is_file():
        (folder / GENERATION_CONFIG).write_bytes((base.folder / GENERATION_CONFIG).read_bytes())
