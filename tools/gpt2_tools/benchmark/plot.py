"""Scaling curves side by side as a picture, which appears complete or not at all."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2_tools.benchmark.engine.scaling import Curve
from gpt2_tools.common.picture import save_picture, use_plain_frame
from gpt2_tools.common.problem import Problem
from omz_model_tools.common import check_file

FORMATS = (".png", ".svg", ".pdf")
INK = "#1f5fa8"
LABELLED = 8
"""Curves with fewer points have a tick at each."""


def check_plot(path: Path) -> None:
    """Raise Problem if the picture cannot be drawn; called before anything is measured."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Problem("--plot: matplotlib is not installed; run: pip install 'omz-gpt2[plot]'")
    if path.suffix not in FORMATS:
        raise Problem(f"--plot: expected a file that ends in {', '.join(FORMATS)}, got {path}")
    check_file(path)


def draw(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Draw the curves: medians, with a band from minimum to maximum."""
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415

    picture: Any = Picture(figsize=(4.2 * len(curves), 3.8), layout="constrained")
    picture.suptitle(title, fontsize=10)
    for axes, curve in zip(picture.subplots(1, len(curves)), curves, strict=True):
        _draw(axes, curve)
    save_picture(picture, path)


def _draw(axes: Any, curve: Curve) -> None:
    xs, figures = list(curve.points), list(curve.points.values())
    axes.fill_between(
        xs,
        [min(figure.values) for figure in figures],
        [max(figure.values) for figure in figures],
        color=INK,
        alpha=0.2,
        lw=0,
    )
    axes.plot(xs, [figure.median for figure in figures], color=INK, marker="o", markersize=4)
    axes.set(xlabel=curve.x, ylabel=curve.y, xlim=(0, 1.05 * max(xs)), ylim=(0, None))
    if len(xs) < LABELLED:
        axes.set_xticks(xs)
    use_plain_frame(axes)
