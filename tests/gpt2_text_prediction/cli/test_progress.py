"""progress: what a terminal shows, by the rules of carriage return and line feed."""

import pytest

from gpt2_text_prediction.cli.progress import Progress


class Screen:
    """What was written, as a terminal has it."""

    def __init__(self):
        self.lines, self.column = [""], 0

    def write(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self.lines.append("")
            if character in "\r\n":
                self.column = 0
                continue
            line = self.lines[-1]
            self.lines[-1] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1


@pytest.fixture
def screen():
    return Screen()


def bar(cells: int) -> str:
    return "[" + "#" * cells + "." * (30 - cells) + "]"


def test_it_tells_how_far_it_is_and_how_long_it_takes(screen):
    times = iter([0.0, 10.0, 26.0, 30.0])
    progress = Progress(3, "prompts", screen.write, lambda: next(times))
    progress.draw()
    assert screen.lines == [f"{bar(0)} 0/3 prompts"]
    shown = []
    for _ in range(3):
        progress.step()
        shown.append(screen.lines[-1].rstrip())
    assert shown == [
        f"{bar(10)} 1/3 prompts, 20 s left",
        f"{bar(20)} 2/3 prompts, 13 s left",
        f"{bar(30)} 3/3 prompts, 0 s left",
    ]
    progress.clear()
    assert screen.lines[0].strip() == ""


def test_what_was_there_already_took_no_time(screen):
    times = iter([0.0, 8.0])
    progress = Progress(5, "prompts", screen.write, lambda: next(times))
    for _ in range(3):
        progress.step(made=False)
    assert screen.lines == [f"{bar(18)} 3/5 prompts"]
    progress.step()
    assert screen.lines == [f"{bar(24)} 4/5 prompts, 8 s left"]


def test_it_makes_room_for_what_is_said(screen):
    progress = Progress(2, "prompts", screen.write, lambda: 0)
    progress.step()
    progress.clear()
    screen.write("short\n")
    progress.step()
    assert [line.rstrip() for line in screen.lines] == ["short", f"{bar(30)} 2/2 prompts, 0 s left"]
    progress.clear()
    assert [line.rstrip() for line in screen.lines] == ["short", ""]


def test_nothing_drawn_leaves_no_empty_line(screen):
    progress = Progress(0, "prompts", screen.write)
    progress.clear()
    assert screen.lines == [""]
    progress.draw()
    assert screen.lines == [f"{bar(0)} 0/0 prompts"]
