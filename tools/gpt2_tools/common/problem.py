"""Problem, an error that the user can fix, and the guard that prints every package's Problem as one line.

Any other exception is a bug and ends in a traceback.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from omz_model_tools import common


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; a Problem of any package is one line on stderr and exit code 1."""

    def run() -> int:
        with one_problem():
            return command()

    return common.guarded(run, (Problem,))


@contextmanager
def one_problem() -> Iterator[None]:
    """Raise the Problem of any package as the one of this package."""
    try:
        yield
    except Exception as error:
        if isinstance(error, problem_types()):
            raise Problem(str(error)) from error
        raise


def problem_types() -> tuple[type[Exception], ...]:
    """Return the Problem of this package and of those that it uses.

    They are imported after an error only, since gpt2_recipe imports OpenVINO.
    """
    import gpt2_recipe  # noqa: PLC0415
    import gpt2_text_prediction  # noqa: PLC0415

    return Problem, gpt2_text_prediction.Problem, gpt2_recipe.Problem, common.Problem
