"""Read a JSON object from a file, or raise Problem."""

import json
from pathlib import Path
from typing import Any

from gpt2_recipe.plain_file import require_plain_file
from gpt2_recipe.problem import Problem


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises Problem if it cannot be read, or has other content.
    """
    require_plain_file(path)
    try:
        fields = json.loads(path.read_bytes())
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Problem(f"{path}: is not JSON: {error}; fetch it again") from None
    if not isinstance(fields, dict):
        raise Problem(f"{path}: expected a JSON object, got {type(fields).__name__}")
    return fields
