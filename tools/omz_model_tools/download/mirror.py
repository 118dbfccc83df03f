"""Mirrors: the URLs of the Hugging Face hub's files on another host."""

from collections.abc import Iterable, Mapping

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.model import HttpSource, Source

HUB = "https://huggingface.co"
VARIABLE = "HF_ENDPOINT"


def base_url(text: str) -> str:
    """Return a mirror's URL in the form of HUB; ValueError, naming what is expected, for anything else."""
    base = text.rstrip("/")
    if "?" in base or "#" in base:
        raise ValueError("an http or https URL without ? and #")
    return HttpSource(base).url


def mirror_of(environment: Mapping[str, str]) -> str | None:
    """Return the mirror named by HF_ENDPOINT, huggingface_hub's own variable."""
    text = environment.get(VARIABLE, "")
    try:
        return base_url(text) if text else None
    except ValueError as expected:
        raise Problem(f"{VARIABLE}: expected {expected}, got {text!r}") from expected


def mirrored(sources: Iterable[Source], mirror: str | None) -> list[Source]:
    """Return the sources in the order to try; with a mirror, the hub's files come first and only from the mirror."""
    if mirror is None:
        return list(sources)
    of_hub, others = [], []
    for source in sources:
        if isinstance(source, HttpSource) and source.url.startswith(f"{HUB}/"):
            of_hub.append(HttpSource(mirror + source.url.removeprefix(HUB)))
        else:
            others.append(source)
    return [*of_hub, *others]
