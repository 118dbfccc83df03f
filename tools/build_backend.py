"""The build backend: setuptools', whose editable installs then show their types to mypy and pyright too.

The packages of this project lie in several folders, so that setuptools makes them importable by a hook, which no type
checker runs. A .pth file with the folders beside that hook is read by Python and by type checkers alike.
"""

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # the other hooks of PEP 517

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("demos/gpt2_text_prediction_demo/python", "tools")
NAME = "__editable__.omz_gpt2_types.pth"


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable install (PEP 660), with the .pth file; return its name."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    content = "".join(f"{ROOT / folder}\n" for folder in FOLDERS).encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    _add(Path(wheel_directory) / name, content, f"{NAME},sha256={digest},{len(content)}\n")
    return name


def _add(wheel: Path, content: bytes, record: str) -> None:
    """Add the .pth file to a wheel, and its line to the wheel's RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in entries:
            archive.writestr(info, record.encode() + data if info.filename.endswith(".dist-info/RECORD") else data)
        archive.writestr(NAME, content)
