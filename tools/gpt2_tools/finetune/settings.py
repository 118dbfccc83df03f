"""The settings of a fine-tuning run: checked when they are made, with the defaults that depend on others."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gpt2_tools.common.problem import Problem

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "f32", "bf16")
SCHEDULERS = ("linear", "cosine", "constant")
GENERATION, CLASSIFICATION = "generation", "classification"
LATEST, FRESH = "latest", "fresh"
VALIDATION_SPLIT = {GENERATION: 0.05, CLASSIFICATION: 0.1}
EPOCHS = 3.0

FIXED = (
    "task",
    "label_column",
    "max_train_samples",
    "max_eval_samples",
    "from_scratch",
    "vocab_size",
    "block_size",
    "batch_size",
    "accumulate_gradients",
    "seed",
    "optimizer",
    "precision",
    "lora",
    "only_train_transformer_layers",
    "validation_split",
)
"""Settings that a run keeps: with another value, a resumed run would not be the same run."""


@dataclass(frozen=True)
class Settings:
    """What gpt2_finetune is asked for; docs/finetune.md says what each means. None: the default depends on others."""

    dataset: Path
    model: str | None = None
    from_scratch: str | None = None
    vocab_size: int | None = None
    task: str = GENERATION
    text_column: str | None = None
    label_column: str | None = None
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    validation_file: Path | None = None
    validation_split: float | None = None
    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 1
    accumulate_gradients: int = 1
    block_size: int | None = None
    learning_rate: float | None = None
    lr_scheduler: str = "linear"
    warmup: float = 0.0
    weight_decay: float | None = None
    max_grad_norm: float = 1.0
    optimizer: str = "adamw"
    precision: str = "auto"
    gradient_checkpointing: bool = False
    only_train_transformer_layers: bool = False
    lora: int | None = None
    seed: int = 0
    threads: int | None = None
    sample_every: int = 0
    sample_prompt: str = ""
    save_every: int = 100
    eval_every: int = 100
    keep: int = 1
    early_stopping: int | None = None
    restore_from: str = LATEST
    run_name: str = "run1"
    checkpoint_dir: Path = Path("checkpoint")
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raise Problem, naming the flag, for a value that cannot be used."""
        for name, (holds, expected) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and holds(value)):
                raise Problem(f"--{name}: expected {expected}, got {value!r}")
        for name in ("dataset", "validation_file", "checkpoint_dir"):
            if isinstance(value := getattr(self, name), str):  # from Python
                object.__setattr__(self, name, Path(value))
        for name in ("model", "from_scratch"):
            if isinstance(value := getattr(self, name), Path):
                object.__setattr__(self, name, str(value))
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise Problem(f"--{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        self._check_together()

    def _check_together(self) -> None:
        self._check_task()
        if (self.model is None) == (self.from_scratch is None):
            raise Problem("--model, --from_scratch: expected one of them")
        for name, other in EXCLUSIVE:
            if _is_given(self, name) and _is_given(self, other):
                raise Problem(f"--{name} and --{other} exclude each other")
        if self.vocab_size is not None and self.from_scratch is None:
            raise Problem("--vocab_size: belongs to --from_scratch, which was not given")
        for name in ("early_stopping", "validation_file"):
            if getattr(self, name) is not None and not self.eval_every:
                raise Problem(f"--{name}: needs evaluations, and --eval_every is 0")
        if self.sample_prompt and not self.sample_every:
            raise Problem("--sample_prompt: belongs to --sample_every, which is 0")
        plain = Path(self.run_name).name == self.run_name and self.run_name.isprintable()
        if not plain or self.run_name.startswith(".") or "\\" in self.run_name or not self.run_name:
            raise Problem(f"--run_name: expected the name of a folder, got {self.run_name!r}")

    def _check_task(self) -> None:
        others = NOT_OF_CLASSIFICATION if self.task == CLASSIFICATION else OF_CLASSIFICATION
        for name in others:
            if _is_given(self, name):
                raise Problem(f"--{name}: does not apply to --task {self.task}")

    @property
    def run_dir(self) -> Path:
        """The folder of the run."""
        return self.checkpoint_dir / self.run_name

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate given, or the default of what is trained."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "muon":
            return 2e-3
        return 1e-4 if self.lora else 1e-3 if self.from_scratch else 5e-5

    @property
    def decay(self) -> float:
        """The weight decay given, or the default of what is trained."""
        return self.weight_decay if self.weight_decay is not None else 0.1 if self.from_scratch else 0.0

    @property
    def held_out_share(self) -> float:
        """The share of the data set to validate on, given or the default of the task."""
        return VALIDATION_SPLIT[self.task] if self.validation_split is None else float(self.validation_split)

    @property
    def blocks_per_step(self) -> int:
        """The blocks of one step of one process."""
        return self.batch_size * self.accumulate_gradients

    def steps_for(self, blocks: int, processes: int) -> int:
        """Return the total number of steps: as given, or as many as the epochs need."""
        if self.steps is not None:
            return self.steps
        epochs = EPOCHS if self.epochs is None else self.epochs
        batches = math.ceil(math.ceil(blocks / self.batch_size) / processes)
        return max(1, math.ceil(epochs * math.ceil(batches / self.accumulate_gradients)))

    def warmup_steps(self, steps: int) -> int:
        """Return the steps of the warm-up, which is given in steps or, below 1, as a share of all."""
        return round(self.warmup if self.warmup >= 1 else self.warmup * steps)

    def as_json(self) -> dict[str, Any]:
        """Return every setting, for run.json."""
        values = dataclasses.asdict(self)
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _is_given(settings: Settings, name: str) -> bool:
    return bool(getattr(settings, name) != DEFAULTS[name])


def _at_least(least: float, *, whole: bool = True) -> Callable[[float], bool]:
    return lambda value: value >= least and value < math.inf and (isinstance(value, int) or not whole)


COUNT = (_at_least(1), "a whole number from 1")
COUNT_OR_NONE = (_at_least(0), "a whole number from 0")
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "steps": COUNT,
    "batch_size": COUNT,
    "accumulate_gradients": COUNT,
    "block_size": (_at_least(2), "a whole number from 2"),
    "vocab_size": (_at_least(257), "257 or more: the bytes and the end of text"),
    "lora": COUNT,
    "threads": COUNT,
    "max_train_samples": COUNT,
    "max_eval_samples": COUNT,
    "keep": COUNT,
    "early_stopping": COUNT,
    "seed": COUNT_OR_NONE,
    "save_every": COUNT,
    "eval_every": COUNT_OR_NONE,
    "sample_every": COUNT_OR_NONE,
    "epochs": (lambda value: 0 < value < math.inf, "a number above 0"),
    "learning_rate": (lambda value: 0 < value < math.inf, "a number above 0"),
    "warmup": (_at_least(0, whole=False), "a number of steps, or a share below 1"),
    "weight_decay": (_at_least(0, whole=False), "a number from 0"),
    "max_grad_norm": (_at_least(0, whole=False), "a number from 0"),
    "validation_split": (lambda value: 0 <= value <= 0.5, "a share from 0 to 0.5"),
}
"""Which values of a number are taken, and in words."""
CHOICES = {
    "task": (GENERATION, CLASSIFICATION),
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "lr_scheduler": SCHEDULERS,
}
OF_CLASSIFICATION = ("label_column", "max_train_samples", "max_eval_samples")
NOT_OF_CLASSIFICATION = ("from_scratch", "vocab_size", "sample_every", "sample_prompt")
EXCLUSIVE = (
    ("steps", "epochs"),
    ("validation_file", "validation_split"),
    ("lora", "only_train_transformer_layers"),
    ("lora", "from_scratch"),
    ("lora", "optimizer"),
)
DEFAULTS = {field.name: None if field.name == "dataset" else field.default for field in fields(Settings)}
