"""What ran: the versions of the packages that a figure depends on."""

import importlib.metadata
import platform


def versions() -> dict[str, str]:
    """Return those that are installed, and Python's."""
    names = ("omz-gpt2", "openvino", "tokenizers", "numpy", "transformers", "torch")
    return {name: importlib.metadata.version(name) for name in names if installed(name)} | {
        "python": platform.python_version()
    }


def installed(name: str) -> bool:
    """Tell whether a package of that name is installed."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
