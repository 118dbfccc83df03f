"""Mirrors replace the hub's host, and nothing else."""

from pathlib import Path

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.model import FileSource, HttpSource
from omz_model_tools.download.mirror import base_url, mirror_of, mirrored

HUB = HttpSource("https://huggingface.co/gpt2/resolve/main/x")
LIKE = HttpSource("https://huggingface.co.evil.example/x")
OTHER = HttpSource("https://storage.example/x")
FILE = FileSource(Path("x"))


def test_the_hub_is_replaced_the_mirror_comes_first_and_others_stay() -> None:
    copy = HttpSource("http://mirror:8080/hf/gpt2/resolve/main/x")
    assert mirrored([FILE, OTHER, LIKE, HUB], "http://mirror:8080/hf") == [copy, FILE, OTHER, LIKE]


def test_without_a_mirror_nothing_changes() -> None:
    assert mirrored([OTHER, HUB], None) == [OTHER, HUB]


@pytest.mark.parametrize("text", ["http://mirror", "http://mirror/", "http://mirror//"])
def test_a_slash_at_the_end_means_nothing(text: str) -> None:
    assert base_url(text) == "http://mirror"
    assert mirror_of({"HF_ENDPOINT": text}) == "http://mirror"


@pytest.mark.parametrize("text", ["mirror", "ftp://mirror", "http://", "http://mirror?x", "http://mirror#x", " "])
def test_what_is_no_mirror(text: str) -> None:
    with pytest.raises(ValueError, match="an http or https URL"):
        base_url(text)
    with pytest.raises(Problem, match=r"^HF_ENDPOINT: expected an http or https URL.*, got "):
        mirror_of({"HF_ENDPOINT": text})


@pytest.mark.parametrize("environment", [{}, {"HF_ENDPOINT": ""}])
def test_no_mirror(environment: dict[str, str]) -> None:
    assert mirror_of(environment) is None
