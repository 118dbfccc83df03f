"""The tasks by name, and `finetune`, gpt2_finetune from Python."""

from pathlib import Path
from typing import Any

from gpt2_tools.common.problem import one_problem
from gpt2_tools.finetune import settings
from gpt2_tools.finetune.classification import Classification
from gpt2_tools.finetune.run import GENERATION, Finetuned, Task, run
from gpt2_tools.finetune.settings import Settings

TASKS = {settings.GENERATION: GENERATION, settings.CLASSIFICATION: Classification()}


def task_of(given: Settings) -> Task:
    """Return the task that --task names."""
    return TASKS[given.task]


def finetune(dataset: Path | str, **settings: Any) -> Finetuned:
    """Fine-tune a model on a text, as gpt2_finetune does; the settings are its flags, by name.

    A run that was stopped is resumed. Raises Problem for what the user can fix.
    """
    with one_problem():
        given = Settings(Path(dataset), **settings)
        return run(given, task_of(given))
