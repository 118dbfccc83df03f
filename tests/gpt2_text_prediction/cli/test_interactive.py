"""The interactive mode: its commands through a pipe, its line editor and Ctrl-C on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gpt2_text_prediction import Sampling, TextGenerator
from gpt2_text_prediction.cli.interactive import completions
from gpt2_text_prediction.settings import SETTINGS
from support import HANGS_AFTER, until
from support.command import COMMANDS

DEMO = "gpt2_text_prediction_demo"
ASK = "Type input prompt (empty string to exit): "


@pytest.fixture(scope="module")
def typed(run, mini_ir):
    """Return a function that gives the demo lines through a pipe."""

    def type_lines(*lines: str, flags=("--seed", 7, "-n", 6)) -> subprocess.CompletedProcess:
        typed = "".join(f"{one}\n" for one in lines).encode()
        return run(DEMO, "-m", mini_ir, "--interactive", "--precision_hint", "f32", *flags, stdin=typed)

    return type_lines


@pytest.fixture(scope="module")
def expected(mini_ir):
    with TextGenerator(mini_ir, precision_hint="f32") as generator:

        def answer(prompt: str, index: int, **sampling) -> str:
            stream = generator.stream(prompt, Sampling(**sampling), max_new_tokens=6, index=(index, 0))
            return f"{prompt}{''.join(stream)}\n"

        yield answer


def said(done: subprocess.CompletedProcess) -> list[str]:
    log = done.stderr.decode()
    assert "Traceback" not in log
    return log.splitlines()


def test_lines_are_prompts_and_commands_change_what_follows(typed, expected):
    done = typed("The whale", "/temperature 0", "The whale", "/temperature default", "/top-k 3", "The whale")
    texts = [
        expected("The whale", 0, seed=7),
        expected("The whale", 1, temperature=0),
        expected("The whale", 2, seed=7, top_k=3),
    ]
    assert done.stdout.decode() == "\n".join(texts)
    assert done.returncode == 0


def test_regen_draws_others_and_undo_and_save_know_the_texts(typed, expected, tmp_path):
    path = tmp_path / "texts.txt"
    done = typed("The whale", "/regen", "/undo", "King", f"/save {path}", f"/save {path}")
    first, other, king = expected("The whale", 0, seed=7), expected("The whale", 1, seed=7), expected("King", 2, seed=7)
    assert done.stdout.decode() == "\n".join([first, other, king])
    assert first != other
    assert path.read_text(encoding="utf-8") == "\n".join([first, king])
    assert f"[ ERROR ] line 6: /save {path}: is there already: give another name" in said(done)
    assert done.returncode == 0


def test_a_seed_that_was_chosen_is_said_and_gives_the_text_again(typed):
    done = typed("/seed default", "The whale")
    seed = re.findall(r"Seed: (\d+)", done.stderr.decode())[-1]
    assert typed("The whale", flags=("--seed", seed, "-n", 6)).stdout == done.stdout


def test_what_goes_wrong_is_said_and_ends_nothing(typed, expected):
    done = typed(
        "/tempreature 1", "/temperature hot", "/top_p 2", "/regen", "/undo", "/num_beams 2", "/top_k 3", "/save",
        "/help me", "//x", "/quit", "a",
    )  # fmt: skip
    errors = [line.removeprefix("[ ERROR ] ") for line in said(done) if "ERROR" in line]
    assert errors == [
        "line 1: /tempreature: there is no such command; did you mean /temperature? /help lists them",
        "line 2: temperature: expected a number, got 'hot'",
        "line 3: top_p: expected a number from 0 to 1 (all tokens), got 2.0",
        "line 4: /regen: there is no prompt yet",
        "line 5: /undo: there is no text yet",
        "line 7: num_beams, top_k: beam search does not sample: leave one out",
        "line 8: /save: expected the name of a file",
        "line 9: /help: stands alone, got 'me'",
    ]
    assert done.stdout.startswith(b"/x")
    assert done.stdout.count(b"/x") == 1


def test_help_and_settings(typed):
    lines = said(typed("/help", "/stop end", "/settings", "/stop", "/top_k"))
    for name in SETTINGS:
        assert any(name in line for line in lines)
    assert lines.count("[ INFO ] stop: ['end']") == 2
    assert "[ INFO ] max_new_tokens: 6" in lines
    assert lines.count("[ INFO ] top_k: 0 (default)") == 2
    assert "[ INFO ] a line is a prompt; /help lists what else can be typed" in lines


def test_a_setting_by_any_of_its_names_and_with_an_equals_sign(typed):
    lines = said(typed("/temp=0.5", "/max-sample-token-num = 2", r"/stop \n", "/temperature", "/n", "/stop"))
    assert lines[-3:] == ["[ INFO ] temperature: 0.5", "[ INFO ] max_new_tokens: 2", r"[ INFO ] stop: ['\n']"]
    raw = said(typed(r"/stop \n", "/stop", flags=("--no_escape",)))
    assert raw[-1] == r"[ INFO ] stop: ['\\n']"


def test_more_goes_on_with_the_text_just_written(typed, expected, tmp_path):
    path = tmp_path / "texts.txt"
    done = typed("The whale", "/more", f"/save {path}")
    first = expected("The whale", 0, seed=7).rstrip("\n")
    whole = expected(first, 1, seed=7)
    assert done.stdout.decode() == f"{first}\n\n{whole.removeprefix(first)}"
    assert path.read_text(encoding="utf-8") == f"{first}\n\n{whole}"


def test_a_line_that_ends_with_a_backslash_goes_on(typed, expected):
    done = typed("The whale\\", "is\\\\", "/temperature 0")
    assert done.stdout.decode() == expected("The whale\nis\\", 0, seed=7)


def test_a_blank_line_may_stand_in_a_prompt_and_a_command_is_a_line_of_its_own(typed, expected):
    done = typed("The whale\\", "\\", "is", "/temperature 0\\", "a")
    assert done.stdout.decode() == expected("The whale\n\nis", 0, seed=7)
    assert any(line.endswith(": a command is a line of its own") for line in said(done))


def test_quiet_leaves_the_hint_out_and_not_what_is_asked_for(typed):
    lines = said(typed("/temperature", flags=("--quiet",)))
    assert lines == ["[ INFO ] temperature: 1.0 (default)"]


def test_a_mistyped_command_costs_no_exit_code_and_a_prompt_that_fails_does(typed):
    assert typed("/tmeperature 1", "/top_p 2", "/save").returncode == 0
    assert typed("a\x07b").returncode == 1


def test_a_home_folder_and_what_tab_makes_of_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "texts").mkdir()
    (tmp_path / "text[1].txt").write_text("")
    assert completions("/te") == ["/temperature "]
    assert completions("/save ~/te") == [f"/save {tmp_path}/text[1].txt", f"/save {tmp_path}/texts/"]
    assert completions(f"/save {tmp_path}/text[") == [f"/save {tmp_path}/text[1].txt"]
    assert completions("te") == completions("") == []


def test_without_the_flag_a_pipes_slashes_are_text(run, mini_ir):
    done = run(DEMO, "-m", mini_ir, "-n", 1, stdin=b"/help\n")
    assert done.stdout.startswith(b"/help")


class Terminal:
    """The demo with a person at both ends."""

    def __init__(self, *command: object, term: str = "dumb") -> None:
        self.seen, self._at = "", 0
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": term},
        )  # fmt: skip
        os.close(slave)

    def read_until(self, text: str) -> None:
        """Read until the text has been seen behind what was waited for before."""
        end = time.monotonic() + HANGS_AFTER
        while (found := self.seen.find(text, self._at)) < 0:
            assert time.monotonic() < end, self.seen
            if select.select([self._master], [], [], 1)[0]:
                self.seen += os.read(self._master, 1 << 12).decode(errors="replace")
        self._at = found + len(text)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt_the_editor(self) -> None:
        """Send Ctrl-C when readline has come to wait: before, Python notices it with the next key only."""
        state, asleep = Path(f"/proc/{self.process.pid}/stat"), 0

        def sleeps_on() -> bool:
            nonlocal asleep  # times in a row: it also sleeps for a moment where another thread has the interpreter
            asleep = (asleep + 1) * state.read_text().rpartition(") ")[2].startswith("S")
            return asleep > 30

        until(sleeps_on)
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        code = self.process.wait(timeout=HANGS_AFTER)
        os.close(self._master)
        return code


@pytest.fixture
def terminal(mini_ir, request):
    if not Path("/proc/self/stat").exists():
        pytest.skip("reads /proc")
    exact = ("--precision_hint", "f32")  # so that the text is the same on every CPU
    term = getattr(request, "param", "dumb")
    found = Terminal(COMMANDS / DEMO, "-m", mini_ir, *exact, "--seed", 7, "-n", 400, "--ignore_eos", term=term)
    yield found
    found.process.kill()
    found.process.wait()


def test_ctrl_c_stops_the_text_and_not_the_program_and_lines_can_be_edited(terminal):
    terminal.read_until(ASK)
    terminal.type("The whalex\x7f\n")  # a typing error, and backspace
    terminal.read_until("The whale ")
    terminal.read_until(" ")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(ASK)
    assert "[ INFO ] stopped" in terminal.seen
    terminal.interrupt_the_editor()  # of one who has pressed it twice
    terminal.read_until("[ INFO ] Ctrl-C again, an empty line or /quit ends the program")
    terminal.read_until(ASK)
    terminal.type("/max_new_tokens 3\n")
    terminal.read_until(ASK)
    terminal.type("\x10\x10\n")  # twice up: the line before the last one
    terminal.read_until("3 tokens, finish reason: length")
    terminal.read_until(ASK)
    terminal.type("\n")
    assert terminal.end() == 0
    assert len(re.findall(r"\nThe whale ?\S", terminal.seen)) == 2
    assert "Traceback" not in terminal.seen


def test_ctrl_c_twice_where_nothing_is_written_ends_the_program(terminal):
    terminal.read_until(ASK)
    terminal.type("half a line")
    terminal.read_until("half a line")
    terminal.interrupt_the_editor()
    terminal.read_until("ends the program")
    terminal.read_until(ASK)
    terminal.interrupt_the_editor()
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen


def test_ctrl_c_drops_a_prompt_that_was_to_go_on(terminal):
    terminal.read_until(ASK)
    terminal.type("/max_new_tokens 3\n")
    terminal.read_until(ASK)
    terminal.type("half a prompt\\\n")
    terminal.read_until(ASK)
    terminal.interrupt_the_editor()
    terminal.read_until("ends the program")
    terminal.read_until(ASK)
    terminal.type("The whale\n")
    terminal.read_until("3 tokens, finish reason: length")
    assert "\nhalf a prompt\r\nThe whale" not in terminal.seen
    terminal.type("\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("terminal", ["xterm"], indirect=True)
def test_pasted_lines_are_one_prompt_tab_completes_and_nothing_is_left_for_the_shell(terminal):
    terminal.read_until(ASK)
    terminal.type("/max_new_t\t3\n")
    terminal.read_until(ASK)
    terminal.type("\x1b[200~The whale\n\nis\na king\x1b[201~\n")
    terminal.read_until("3 tokens, finish reason: length")
    assert terminal.seen.count("finish reason") == 1
    assert re.search(r"\rThe whale\r\n\r\nis\r\na king ?\S", terminal.seen)
    terminal.read_until(ASK)
    terminal.type("/quit\nrm -r important\n")
    assert terminal.end() == 0
