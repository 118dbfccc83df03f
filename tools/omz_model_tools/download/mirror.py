"""The hub's files from another host: where else a source may lie; it asks nobody."""

from collections.abc import Iterable, Mapping

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.model import HttpSource, Source

HUB = "https://huggingface.co"
VARIABLE = "HF_ENDPOINT"


def base_url(text: str) -> str:
    """A mirror as HUB is written, or ValueError with what was expected."""
    base = text.rstrip("/")
    if "?" in base or "#" in base:
        raise ValueError("an http or https URL without ? and #")
    return HttpSource(base).url


def mirror_of(environment: Mapping[str, str]) -> str | None:
    """The mirror that huggingface_hub's own variable names."""
    text = environment.get(VARIABLE, "")
    try:
        return base_url(text) if text else None
    except ValueError as expected:
        raise Problem(f"{VARIABLE}: expected {expected}, got {text!r}") from expected


def mirrored(sources: Iterable[Source], mirror: str | None) -> list[Source]:
    """The sources in the order to ask them; with a mirror those of the hub come first, and from the mirror only."""
    if mirror is None:
        return list(sources)
    of_hub, others = [], []
    for source in sources:
        if isinstance(source, HttpSource) and source.url.startswith(f"{HUB}/"):
            of_hub.append(HttpSource(mirror + source.url.removeprefix(HUB)))
        else:
            others.append(source)
    return [*of_hub, *others]
