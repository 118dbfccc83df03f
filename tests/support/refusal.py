"""What a user can mend is refused in one line, which says what it is about."""

from collections.abc import Callable
from pathlib import Path

import pytest


def refused(
    problem: type[Exception],
    call: Callable[..., object],
    *arguments: object,
    begins: Callable[[Path], object] = str,
    about: str = "",
    **named: object,
) -> str:
    """Return the line with which a call is refused; it begins with the path that the call was given, if one was.

    A test file binds what is the same in it: refusal = partial(refused, Problem, read_tensors).
    """
    with pytest.raises(problem) as caught:
        call(*arguments, **named)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert all(line.startswith(str(begins(path))) for path in arguments if isinstance(path, Path))
    assert about in line
    return line
