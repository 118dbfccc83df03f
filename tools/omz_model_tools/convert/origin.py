"""Whose an IR is, as its rt_info tells; it changes nothing and knows no model family."""

from typing import Any

MAKERS = {
    "optimum": "optimum-intel",
    "MO_version": "Model Optimizer",
    "conversion_parameters": "openvino.convert_model",
}
"""What other converters write into rt_info -> who they are, the most telling first."""


def facts_of(model: Any, recipe: str) -> str | None:
    """The section of rt_info with the facts of this recipe, or None where the IR is not of its making."""
    for section in model.get_rt_info():
        if _fact(model, [section, "recipe"]) == recipe:
            return str(section)
    return None


def maker(model: Any) -> str:
    """Who made an IR that is not of a recipe."""
    known = model.get_rt_info()
    return next((name for key, name in MAKERS.items() if key in known), "an unknown converter")


def _fact(model: Any, path: list[str]) -> str | None:
    try:
        return str(model.get_rt_info(path).value)
    except (RuntimeError, TypeError, AttributeError):  # a section of another shape
        return None
