"""A conversation with a person: each line is a prompt, or a command that begins with a slash."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from gpt2_text_prediction.cli.conversation import Conversation
from gpt2_text_prediction.cli.prompts import RawPrompt, read_prompt
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.settings import SETTINGS
from gpt2_text_prediction.settings_by_name import make_settings, parse_setting

HELP = f"""A line is a prompt; Ctrl-C stops its text, an empty line or /quit ends the program.
//TEXT          a prompt that begins with a slash
/NAME VALUE     set one of: {", ".join(SETTINGS)}
/NAME           show its value
/NAME default   reset it
/settings       show all that are set
/regen          answer the last prompt again, with another seed
/undo           remove the last text
/save FILE      write all texts into a new file
/help           show this"""


class Quit(Exception):
    """/quit: the person ends the conversation."""


class Interactive:
    """Takes line after line; an error in one is logged and does not end the conversation."""

    def __init__(self, talk: Conversation, say: Callable[[str, str], None]) -> None:
        self._talk = talk
        self._say = say
        self._count = 0

    def run(self, lines: Iterable[RawPrompt]) -> None:
        """Take lines until there are no more, or /quit."""
        try:
            for line in lines:
                self._take(line)
        except Quit:
            return

    def _take(self, line: RawPrompt) -> None:
        try:
            text, _ = read_prompt(line)
            if text.startswith("/") and not text.startswith("//"):
                self._command(*_parts(text))
            else:
                self._answer(text.removeprefix("/"))
        except Problem as problem:
            self._talk.failed = True
            self._say("ERROR", f"{line.name}: {problem}")
        except KeyboardInterrupt:
            self._say("INFO", "stopped")

    def _answer(self, prompt: str) -> None:
        self._count += 1
        self._talk.continue_prompt(prompt, self._count - 1, {})

    def _command(self, name: str, value: str) -> None:
        commands = {"help": self._help, "settings": self._settings, "regen": self._regenerate, "undo": self._undo}
        if value and name in (*commands, "quit", "exit"):
            raise Problem(f"/{name}: stands alone, got {value!r}")
        if name in commands:
            commands[name]()
        elif name in ("quit", "exit"):
            raise Quit
        elif name == "save":
            self._save(value)
        elif name.replace("-", "_") in SETTINGS:
            self._set(name.replace("-", "_"), value)
        else:
            raise Problem(f"/{name}: there is no such command; /help lists them")

    def _help(self) -> None:
        for line in HELP.splitlines():
            self._say("INFO", line)

    def _settings(self) -> None:
        for name, value in self._talk.given.items():
            self._say("INFO", f"{name}: {value}")

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
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write("\n".join(f"{answer.prompt}{answer.text}\n" for answer in self._talk.answers))
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise Problem(f"/save {path}: is there already: give another name") from None
        except (OSError, ValueError) as problem:
            raise Problem(f"/save {path}: cannot be written: {getattr(problem, 'strerror', problem)}") from None
        self._say("INFO", f"{len(self._talk.answers)} texts are in {path}")

    def _set(self, name: str, value: str) -> None:
        if not value:
            self._say("INFO", f"{name}: {self._talk.given.get(name, 'default')}")
            return
        changed = {key: set_to for key, set_to in self._talk.given.items() if key != name}
        if value != "default":
            changed[name] = parse_setting(name, value)
        make_settings(changed, defaults=self._talk.defaults)
        self._talk.given = changed


def _parts(command: str) -> tuple[str, str]:
    name, _, value = command[1:].partition(" ")
    return name, value.strip()
