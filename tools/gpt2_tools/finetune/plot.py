"""loss.png: the loss of every step, smoothed, and of every evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_tools.common.picture import save_picture, use_plain_frame

INK, PALE, OTHER = "#1f5fa8", "#a9c4e4", "#c8501e"
SMOOTHED = 0.9


def draw_losses(entries: Sequence[Mapping[str, Any]], title: str, path: Path, unit: str = "token") -> None:
    """Draw the entries of log.jsonl; the picture appears complete or not at all."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    steps = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    evaluations = [(entry["step"], entry["eval_loss"]) for entry in entries if "eval_loss" in entry]
    picture: Any = Figure(figsize=(7, 4.2), layout="constrained")
    axes = picture.subplots()
    if steps:
        xs, losses = zip(*steps, strict=True)
        axes.plot(xs, losses, color=PALE, lw=1, label="loss of a step")
        axes.plot(xs, smoothed(losses), color=INK, lw=1.8, label="smoothed")
    if evaluations:
        xs, losses = zip(*evaluations, strict=True)
        axes.plot(xs, losses, color=OTHER, marker="o", markersize=4, lw=1.2, label="validation")
    axes.set(xlabel="step", ylabel=f"loss, nats a {unit}", title=title)
    if steps or evaluations:
        axes.legend(frameon=False)
    use_plain_frame(axes)
    save_picture(picture, path)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return running averages, each loss before counting SMOOTHED as much; the first are averages of few."""
    found, total, weight = [], 0.0, 0.0
    for loss in losses:
        total, weight = total * SMOOTHED + loss, weight * SMOOTHED + 1
        found.append(total / weight)
    return found
