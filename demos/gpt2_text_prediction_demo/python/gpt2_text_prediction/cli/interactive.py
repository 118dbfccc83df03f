"""A conversation with a person: each line is a prompt, or a command that begins with a slash."""

import os
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from glob import escape, glob
from pathlib import Path

from gpt2_text_prediction.cli.conversation import Conversation
from gpt2_text_prediction.cli.prompts import RawPrompt, read_prompt, unescaped
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.settings import ROWS, SETTINGS
from gpt2_text_prediction.settings_by_name import make_settings, parse_setting, with_defaults

NAMES = {flag.lstrip("-").replace("-", "_"): row.name for row in ROWS for flag in (row.name, *row.flags)}
"""Settings by their names and all their flags."""

HELP = f"""A line is a prompt; Ctrl-C stops its text, an empty line or /quit ends the program.
//TEXT          a prompt that begins with a slash
TEXT\\          a line that ends with a backslash goes on in the next; pasted lines are one prompt
/NAME VALUE     set one of: {", ".join(SETTINGS)}; also /NAME=VALUE, by any name of its flag
/NAME           show its value
/NAME default   reset it
/settings       show the values of all
/more           go on with the last text
/regen          answer the last prompt again, with another seed
/undo           remove the last text
/save FILE      write all texts into a new file
/help           show this"""
SHORT_HELP = "a line is a prompt; /help lists what else can be typed"


class Quit(Exception):
    """/quit: the person ends the conversation."""


class Interactive:
    """Takes line after line; an error in one is logged and does not end the conversation."""

    def __init__(self, talk: Conversation, say: Callable[[str, str], None], *, escapes: bool = True) -> None:
        """escapes: whether the texts of /stop and /bad_words have C's escapes."""
        self._talk = talk
        self._say = say
        self._escapes = escapes
        self._count = 0

    def run(self, lines: Iterable[RawPrompt]) -> None:
        """Take lines until there are no more, or /quit."""
        try:
            for line in lines:
                self._take(line)
        except Quit:
            return

    def _take(self, line: RawPrompt) -> None:
        is_command = line.raw.startswith(b"/") and not line.raw.startswith(b"//")
        try:
            text = read_prompt(line).text
            if is_command and "\n" in text:
                raise Problem("a command is a line of its own")
            if is_command:
                self._command(*_parts(text))
            else:
                self._answer(text.removeprefix("/"))
        except Problem as problem:
            self._talk.failed |= not is_command
            self._say("ERROR", f"{line.name}: {problem}")
        except KeyboardInterrupt:
            self._say("INFO", "stopped")

    def _answer(self, prompt: str, *, echo: bool = True) -> None:
        self._count += 1
        try:
            self._talk.continue_prompt(prompt, self._count - 1, {}, echo=echo)
        except Problem:
            self._talk.failed = True
            raise

    def _command(self, name: str, value: str) -> None:
        alone = {
            "help": self._help,
            "settings": self._settings,
            "more": self._more,
            "regen": self._regenerate,
            "undo": self._undo,
            "quit": _quit,
            "exit": _quit,
        }
        if value and name in alone:
            raise Problem(f"/{name}: stands alone, got {value!r}")
        if name in alone:
            alone[name]()
        elif name == "save":
            self._save(value)
        elif name.replace("-", "_") in NAMES:
            self._set(NAMES[name.replace("-", "_")], value)
        else:
            near = get_close_matches(name.replace("-", "_"), [*alone, "save", *NAMES], 1)
            meant = f"did you mean /{near[0]}? " if near else ""
            raise Problem(f"/{name}: there is no such command; {meant}/help lists them")

    def _help(self) -> None:
        for line in HELP.splitlines():
            self._say("INFO", line)

    def _settings(self) -> None:
        for name in SETTINGS:
            self._say("INFO", self._shown(name))

    def _shown(self, name: str) -> str:
        """Return a setting with the value in force, and where it is from."""
        if name in self._talk.given:
            return f"{name}: {self._talk.given[name]}"
        defaults = with_defaults(self._talk.given, self._talk.defaults)
        if name in defaults:
            return f"{name}: {defaults[name]} (the model's default)"
        return f"{name}: {SETTINGS[name].default} (default)"

    def _more(self) -> None:
        if not self._talk.answers:
            raise Problem("/more: there is no text yet")
        self._answer("".join(self._talk.answers[-1]), echo=False)

    def _regenerate(self) -> None:
        if not self._talk.answers:
            raise Problem("/regen: there is no prompt yet")
        self._answer(self._talk.answers[-1].prompt)

    def _undo(self) -> None:
        if not self._talk.answers:
            raise Problem("/undo: there is no text yet")
        self._talk.answers.pop()
        self._say("INFO", f"{len(self._talk.answers)} texts are left")

    def _save(self, name: str) -> None:
        if not name:
            raise Problem("/save: expected the name of a file")
        path = Path(name)
        try:
            path = path.expanduser()
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write("\n".join(f"{answer.prompt}{answer.text}\n" for answer in self._talk.answers))
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise Problem(f"/save {path}: is there already: give another name") from None
        except (OSError, ValueError, RuntimeError) as problem:  # RuntimeError: ~ of nobody
            raise Problem(f"/save {path}: cannot be written: {getattr(problem, 'strerror', problem)}") from None
        self._say("INFO", f"{len(self._talk.answers)} texts are in {path}")

    def _set(self, name: str, value: str) -> None:
        if not value:
            self._say("INFO", self._shown(name))
            return
        changed = {key: set_to for key, set_to in self._talk.given.items() if key != name}
        if value != "default":
            has_escapes = self._escapes and name in ("stop", "bad_words")
            changed[name] = parse_setting(name, unescaped(value) if has_escapes else value)
        make_settings(changed, defaults=self._talk.defaults)
        self._talk.given = changed


def _quit() -> None:
    raise Quit


def _parts(command: str) -> tuple[str, str]:
    """Return the name and the value of /NAME VALUE or /NAME=VALUE."""
    name, _, value = re.fullmatch(r"/([^\s=]*)(\s*=|\s|$)(.*)", command, re.DOTALL).groups()  # type: ignore[union-attr]
    return name, value.strip()


def completions(text: str) -> list[str]:
    """Return what a line that was begun may become: commands and settings; after /save, files."""
    if text.startswith("/save "):
        begun = os.path.expanduser(text.removeprefix("/save "))  # noqa: PTH111  # which raises nothing
        return [f"/save {path}{os.sep * os.path.isdir(path)}" for path in sorted(glob(f"{escape(begun)}*"))]  # noqa: PTH112, PTH207
    names = ["help", "settings", "more", "regen", "undo", "quit", "save ", *(f"{name} " for name in SETTINGS)]
    return [f"/{name}" for name in sorted(names) if f"/{name}".startswith(text) and text.startswith("/")]
