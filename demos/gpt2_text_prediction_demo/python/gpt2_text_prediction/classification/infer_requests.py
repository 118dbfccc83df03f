"""Runs many inputs on a compiled model, as many at a time as the device has streams for; Ctrl-C ends them.

Letters: B rows, L length, N outputs of a row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine.ir import last_line

SECONDS_UNTIL_ASKED = 0.5


class InferFailed(Exception):
    """What OpenVINO says of an input that it could not run."""


class InferRequests:
    """The infer requests of a compiled model; one thread uses them at a time."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(count)]

    def run(
        self, inputs: Sequence[npt.NDArray[np.int64]], on_end: Callable[[int], object] = lambda _: None
    ) -> list[npt.NDArray[np.float32]]:  # each [B, L] -> each [B, N]
        """Return the output of each input. on_end: called in this thread with the number of each that has ended.

        Raises InferFailed.
        """
        outputs: dict[int, npt.NDArray[np.float32]] = {}
        ended: SimpleQueue[int] = SimpleQueue()
        running: dict[int, int] = {}  # request -> input
        for i, request in enumerate(self._requests):
            request.set_callback(ended.put, i)
        free = list(range(len(self._requests)))

        def take() -> None:
            i = self._next(ended, running)
            number = running.pop(i)
            with _as_failure():
                self._requests[i].wait()
            outputs[number] = np.array(self._requests[i].get_output_tensor(0).data)
            free.append(i)
            on_end(number)

        try:
            for number, ids in enumerate(inputs):
                if not free:
                    take()
                i = free.pop()
                with _as_failure():
                    self._requests[i].start_async({0: ids})
                running[i] = number
            while running:
                take()
        finally:
            for i in running:
                self._requests[i].cancel()
            for i in running:
                with suppress(RuntimeError):
                    self._requests[i].wait()
        return [outputs[number] for number in range(len(inputs))]

    def _next(self, ended: SimpleQueue[int], running: Iterable[int]) -> int:
        """Wait for the next request that ends; Ctrl-C raises here. One that fails never calls back, so all are asked.

        Raises InferFailed.
        """
        while True:
            try:
                return ended.get(timeout=SECONDS_UNTIL_ASKED)
            except Empty:
                for i in running:
                    with _as_failure():
                        self._requests[i].wait_for(0)


@contextmanager
def _as_failure() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise InferFailed(last_line(error)) from None
