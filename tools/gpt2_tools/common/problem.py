"""Problem: what a user can mend, in one line; and the guard of every command, to which each package's Problem is one.

Any other exception is a bug and ends in a traceback.
"""

from collections.abc import Callable

from omz_model_tools import common


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit code: 1, after one line on stderr, if a package raises its Problem."""

    def run() -> int:
        try:
            return command()
        except Exception as error:
            if isinstance(error, problem_types()):
                raise Problem(str(error)) from error
            raise

    return common.guarded(run, (Problem,))


def problem_types() -> tuple[type[Exception], ...]:
    """Return the Problem of this package and of each one that it runs.

    Imported only when an error is there: the recipe's brings OpenVINO.
    """
    import gpt2_recipe  # noqa: PLC0415
    import gpt2_text_prediction  # noqa: PLC0415

    return Problem, gpt2_text_prediction.Problem, gpt2_recipe.Problem, common.Problem
