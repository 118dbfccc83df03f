"""A toy to fine-tune, and a process that runs gpt2_finetune."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.finetune import FinetuneServer, write_toy


@pytest.fixture(scope="session")
def server() -> Iterator[FinetuneServer]:
    """Yield what runs the command in processes."""
    with FinetuneServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with a checkpoint `toy` and a text `book.txt`."""
    return write_toy(tmp_path)
