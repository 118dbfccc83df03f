"""The one place that puts something in place of OpenVINO's inference call, to see every call of this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openvino as ov

Infer = Callable[..., Any]


@contextmanager
def inference_replaced(by: Callable[[Infer], Infer]) -> Iterator[None]:
    """Have the request's `infer` be what `by` makes of it, for a while."""
    infer = ov.InferRequest.infer
    ov.InferRequest.infer = by(infer)
    try:
        yield
    finally:
        ov.InferRequest.infer = infer
