"""A picture of matplotlib that appears complete or not at all."""

from pathlib import Path
from typing import Any

from omz_model_tools.common import publishing


def save_picture(picture: Any, path: Path) -> None:
    """Write it in the format that the path ends in. Raises Problem if it cannot be written."""
    with publishing(path) as out:
        picture.savefig(out, format=path.suffix[1:], dpi=150)


def use_plain_frame(axes: Any) -> None:
    """Give the axes a pale grid and no frame at the top and the right."""
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
