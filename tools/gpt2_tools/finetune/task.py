"""A task: what is particular to generating text, or to classifying it, in a run of gpt2_finetune."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from gpt2_recipe import expected_shapes
from gpt2_tools.common.runtime import cpu_flags, processor, versions
from gpt2_tools.finetune.callback import Steps, Stop
from gpt2_tools.finetune.data.tokens import Source, file_facts
from gpt2_tools.finetune.data.vocabulary import Vocabulary
from gpt2_tools.finetune.model import Base
from gpt2_tools.finetune.run_folder import RunFolder
from gpt2_tools.finetune.settings import Settings
from gpt2_tools.finetune.trainer import Plan

Data: TypeAlias = tuple[Any, Any]
"""What is trained and what is validated on, as data sets of PyTorch; None for the second without validation."""


@dataclass(frozen=True)
class Finetuned:
    """What a run ended with.

    step: the last one. validation_loss: in nats a token, of the last evaluation (with early stopping the best); None
    without one. A classifier's is in nats a text, over all that was held out, and so are accuracy and macro_f1.
    signal: that stopped the run before its end, None if none did; model and ir are then None.
    """

    run: Path
    step: int
    validation_loss: float | None
    model: Path | None = None  # for transformers
    ir: Path | None = None  # for the demo, FP16
    signal: int | None = None
    accuracy: float | None = None
    macro_f1: float | None = None

    @property
    def perplexity(self) -> float | None:
        """The perplexity a token on the validation data; a classifier has none."""
        if self.validation_loss is None or self.accuracy is not None:
            return None
        return math.exp(self.validation_loss)


@dataclass(frozen=True)
class Prepared:
    """The settings of a run with what they name."""

    settings: Settings
    base: Base
    vocabulary: Vocabulary
    source: Source
    validation: Source | float
    processes: int

    @property
    def weight_bytes(self) -> int:
        """The size of the weights in f32."""
        return 4 * sum(math.prod(shape) for shape in expected_shapes(self.base.config).values())

    def facts(self) -> dict[str, Any]:
        """Return what run.json says."""
        return {
            "settings": self.settings.as_json(),
            "size": self.base.size(),
            "model_files": file_facts(self.base.files),
            "tokenizer_sha256": self.vocabulary.sha256(),
            "processes": self.processes,
            "data": self.source.facts(),
            "validation_data": [] if isinstance(self.validation, float) else self.validation.facts(),
            "versions": versions("accelerate", "peft"),
            "machine": {"processor": processor(), "flags": cpu_flags()},
        }


class Task(Protocol):
    """The parts of a run that depend on the task.

    unit: what a loss is the mean of, in a word.
    """

    unit: str

    def base(self, settings: Settings, stack: ExitStack) -> Base:
        """Return what is trained on; files that are needed for it exist until the stack ends."""

    def sources(self, settings: Settings) -> tuple[Source, Source | float]:
        """Return the data, and those to validate on or their share."""

    def open(self, folder: Path) -> Any:
        """Return what `write` has written; None if it is not there."""

    def write(self, folder: Path, prepared: Prepared) -> Any:
        """Write the data as tokens; return their facts, of which `train` and `validation` count the tokens."""

    def plan(
        self, prepared: Prepared, tokens: Any, folder: RunFolder, token_folder: Path, saves: bool = True
    ) -> tuple[Plan, Data]:
        """Return what is to be trained, and the data. Raises Problem for too few."""

    def about(self, prepared: Prepared, tokens: Any, plan: Plan, data: Data) -> str:
        """Return what is trained, in a line."""

    def counts(self, prepared: Prepared, tokens: Any, plan: Plan, data: Data) -> list[str]:
        """Return the lines of a dry run that count the data."""

    def trained(self, prepared: Prepared, plan: Plan, data: Data, stop: Stop) -> tuple[Any, Steps]:
        """Return the trainer of a run, with its model, and the callback that it calls."""

    def evaluated(self, trainer: Any, prepared: Prepared, done: Finetuned) -> Finetuned:
        """Return the end of a run with what is measured on the model that is published."""

    def write_model(self, model: Any, prepared: Prepared, folder: Path) -> None:
        """Write the folder for transformers."""

    def command(self, ir: Path, settings: Settings) -> str:
        """Return the command that runs the IR."""
