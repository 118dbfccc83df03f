"""Read the folder of a LoRA or DoRA adapter of peft; other kinds are refused by their names.

After peft's tuners/lora/config.py, and get_pattern_key of its utils/other.py.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.readers.safetensors_file import read_tensors
from gpt2_recipe.readers.torch_file import read_torch
from gpt2_recipe.weights import Weights

ADAPTER_CONFIG = "adapter_config.json"
READERS = {"adapter_model.safetensors": read_tensors, "adapter_model.bin": read_torch}
"""The first of these that an adapter's folder has is read."""
PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT")
"""The kinds of peft that add to a prompt, and so have no merged weights."""
VARIANTS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
"""The fields of LoraConfig that make something else of it, where they are set."""
SAME_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
"""The values of init_lora_weights that leave the base as it is; others, such as pissa and olora, change it."""
LARGEST_ALPHA = 1e9
MERGE_WITH_PEFT = "merge it with peft (merge_and_unload, then save_pretrained) and convert what that saves"
PLAIN = f"plain LoRA and DoRA alone are merged here; {MERGE_WITH_PEFT}"


@dataclass(frozen=True)
class PeftAdapter:
    """A LoRA or DoRA adapter as it is stored; `path` is the file of its weights, the folder is that of the file."""

    path: Path
    fields: Mapping[str, Any]  # of adapter_config.json
    tensors: Weights  # by their names without base_model.model.

    @property
    def base(self) -> str | None:
        """The model that it was trained on: the path of a folder, or a name on the hub."""
        name = self.fields.get("base_model_name_or_path")
        return name if isinstance(name, str) and name else None

    @cached_property
    def saved_modules(self) -> tuple[str, ...]:
        """The last parts of the names of modules that it replaces whole."""
        names = self.fields.get("modules_to_save")
        return tuple(str(name).rpartition(".")[2] for name in names) if isinstance(names, list) else ()

    def scaling(self, module: str, rank: int) -> float:
        """Return what the update of a module is multiplied by."""
        alpha = self.fields.get("lora_alpha", 8)
        pattern = self.fields.get("alpha_pattern") or {}
        for key in pattern if isinstance(pattern, dict) else ():
            try:
                if re.match(rf"(.*\.)?({key})$", module):
                    alpha = pattern[key]
                    break
            except re.error as error:
                raise Problem(f'{self._config}: "alpha_pattern": {one_line(key)}: {error}') from None
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < LARGEST_ALPHA:
            raise Problem(f'{self._config}: "lora_alpha": expected a number, got {alpha!r}')
        return alpha / (math.sqrt(rank) if self.fields.get("use_rslora") else rank)

    @property
    def _config(self) -> Path:
        return self.path.with_name(ADAPTER_CONFIG)


def read_adapter(folder: Path) -> PeftAdapter:
    """Read an adapter's folder; raises Problem if it is incomplete or damaged, or of a kind that is not merged here."""
    config = folder / ADAPTER_CONFIG
    fields = read_object(config)
    _refuse_other_kinds(config, fields)
    for name, read in READERS.items():
        if (folder / name).exists():
            tensors = {stored.removeprefix("base_model.model."): it for stored, it in read(folder / name).items()}
            return PeftAdapter(folder / name, fields, tensors)
    first, second = READERS
    raise Problem(f"{folder / first}: cannot be read: there is no such file, nor {second}")


def _refuse_other_kinds(config: Path, fields: Mapping[str, Any]) -> None:
    kind = fields.get("peft_type")
    if kind in PROMPTS:
        raise Problem(f'{config}: "peft_type": expected "LORA", got "{kind}", which adds to prompts: it has no weights')
    if kind != "LORA":
        raise Problem(f'{config}: "peft_type": expected "LORA", got {one_line(json.dumps(kind))}; {MERGE_WITH_PEFT}')
    start = fields.get("init_lora_weights")
    if start not in SAME_BASE:
        raise Problem(f'{config}: "init_lora_weights": {one_line(json.dumps(start))} changes the base too; {PLAIN}')
    variants = [name for name in VARIANTS if fields.get(name)]
    if variants:
        raise Problem(f'{config}: "{variants[0]}": {PLAIN}')
