"""Runs `TextGenerator.generate` once, as a process of its own: its arguments are JSON, see `command`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import DeviceConfig


def command(model: Path, config: DeviceConfig, prompts: Path, **settings: Any) -> list[str]:
    """Return the command that continues each line of a file in one call, with settings by name."""
    options = {"device": config.device, "precision_hint": config.precision_hint, "num_threads": config.num_threads}
    return [sys.executable, "-m", __name__, str(model), str(prompts), json.dumps(options), json.dumps(settings)]


def main(arguments: Sequence[str]) -> None:
    """Do as the arguments say."""
    model, prompts, options, settings = arguments
    with TextGenerator(model, **json.loads(options)) as generator:
        generator.generate(Path(prompts).read_text().splitlines(), logprobs=None, **json.loads(settings))


if __name__ == "__main__":
    main(sys.argv[1:])
