"""Curves as a picture, in panels side by side, which appears complete or not at all."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2_tools.benchmark.engine.scaling import Curve
from gpt2_tools.common.picture import save_picture, use_plain_frame
from gpt2_tools.common.problem import Problem
from omz_model_tools.common import check_file

FORMATS = (".png", ".svg", ".pdf")
INKS = ("#1f5fa8", "#b4552d")
MOST_COLUMNS = 3
LABELLED, LEAST_TICK = 8, 0.05
"""Curves with fewer points have a tick at each, but for those that would touch the axis: below this share of x."""


def check_plot(path: Path) -> None:
    """Raise Problem if the picture cannot be drawn; called before anything is measured."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Problem("--plot: matplotlib is not installed; run: pip install 'omz-gpt2[plot]'")
    if path.suffix not in FORMATS:
        raise Problem(f"--plot: expected a file that ends in {', '.join(FORMATS)}, got {path}")
    check_file(path)


def draw(panels: Sequence[Sequence[Curve]], title: str, path: Path) -> None:
    """Draw panels of one or two curves: medians, with a band from minimum to maximum."""
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415

    columns = min(len(panels), MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    picture: Any = Picture(figsize=(4.2 * columns, 3.4 * rows + 0.4), layout="constrained")
    picture.suptitle(title, fontsize=10)
    places = picture.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes, curves in zip(places, panels, strict=True):
        _draw_panel(axes, curves)
    save_picture(picture, path)


def _draw_panel(axes: Any, curves: Sequence[Curve]) -> None:
    for curve, ink in zip(curves, INKS, strict=False):
        _draw(axes, curve, ink)
    xs = list(curves[0].points)
    axes.set(xlabel=curves[0].x, ylabel=curves[0].y, xlim=(0, 1.05 * max(xs)), ylim=(0, None))
    if len(xs) < LABELLED:
        axes.set_xticks([x for x in xs if x >= max(xs) * LEAST_TICK])
    if len(curves) > 1:
        axes.legend(frameon=False)
    use_plain_frame(axes)


def _draw(axes: Any, curve: Curve, ink: str) -> None:
    xs, figures = list(curve.points), list(curve.points.values())
    axes.fill_between(
        xs,
        [min(figure.values) for figure in figures],
        [max(figure.values) for figure in figures],
        color=ink,
        alpha=0.2,
        lw=0,
    )
    axes.plot(xs, [figure.median for figure in figures], color=ink, marker="o", markersize=4, label=curve.label)
