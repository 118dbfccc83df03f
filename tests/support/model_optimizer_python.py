"""The Python of an environment with openvino-dev, for the tests that need the real Model Optimizer.

The environment variable OMZ_TEST_MODEL_OPTIMIZER names it; .ci/model_optimizer.sh makes one. It needs Python 3.12 or
older, so that it cannot be the environment of the tests.
"""

import os
from pathlib import Path

import pytest

VARIABLE = "OMZ_TEST_MODEL_OPTIMIZER"


def model_optimizer_python() -> Path:
    """Return it; skip the test where none is named."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"needs openvino-dev: name its environment's Python in {VARIABLE}, or run .ci/model_optimizer.sh")
    return Path(path)
