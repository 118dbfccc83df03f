"""A picture of matplotlib that appears complete or not at all."""

from pathlib import Path
from typing import Any

from omz_model_tools.common import disk_problems, publish_file


def save_picture(picture: Any, path: Path) -> None:
    """Write it in the format that the path ends in. Raises Problem if it cannot be written."""
    new = path.with_name(f".{path.name}.new")
    with disk_problems(path, new):
        try:
            picture.savefig(new, format=path.suffix[1:], dpi=150)
            publish_file(new, path)
        finally:
            new.unlink(missing_ok=True)


def use_plain_frame(axes: Any) -> None:
    """Give the axes a pale grid and no frame at the top and the right."""
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
