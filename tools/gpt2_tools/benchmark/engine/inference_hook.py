"""Replaces OpenVINO's InferRequest.infer for a while, to observe every infer call of this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openvino as ov

Infer = Callable[..., Any]


@contextmanager
def inference_replaced(by: Callable[[Infer], Infer]) -> Iterator[None]:
    """Replace `infer` by by(infer) inside the block."""
    infer = ov.InferRequest.infer
    ov.InferRequest.infer = by(infer)
    try:
        yield
    finally:
        ov.InferRequest.infer = infer
