"""A process that answers each line of JSON with one. If it fails, hangs or prints anything else, that is PeerFailed."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

Answer = dict[str, Any]


class PeerFailed(Exception):
    """Why the other process gives no answer, in one line."""


class CannotRun(PeerFailed):
    """It does not support this request, but may answer others."""


class JsonProcess:
    """A running process; close it, or use it with `with`."""

    def __init__(
        self, command: Sequence[str], patience: float | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start it and wait for its first line.

        patience: the timeout of an answer in seconds, None for no timeout. variables: its environment.
        Raises PeerFailed.
        """
        self._patience = patience
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close
        self._lines: SimpleQueue[str] = SimpleQueue()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                errors="replace",
                env=variables,
                start_new_session=True,  # Ctrl-C in a terminal is for us: we end it
            )
        except OSError as error:
            self._stderr.close()
            raise PeerFailed(f"{command[0]}: cannot be run: {error.strerror}") from None
        Thread(target=self._read, daemon=True).start()
        try:
            self.first = self._answer()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the answer to a request. Raises CannotRun, or PeerFailed, after which no request may follow."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except OSError:  # it has exited; its stderr says why
            raise PeerFailed(self._exit_reason()) from None
        return self._answer()

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._stderr):
            if stream is not None and not stream.closed:
                with suppress(OSError):  # unread input of a process that has exited
                    stream.close()

    def __enter__(self) -> "JsonProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self) -> Answer:
        try:
            line = self._lines.get(timeout=self._patience)
        except Empty:
            raise PeerFailed(f"gave no answer within {self._patience:g} s") from None
        if not line:
            raise PeerFailed(self._exit_reason())
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise PeerFailed(f"expected a line with a JSON object, got {line.strip()[:80]!r}")
        if "cannot" in answer:
            raise CannotRun(str(answer["cannot"]))
        return answer

    def _exit_reason(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"ended with exit code {code}: {lines[-1].strip() if lines else 'no message'}"


def run_to_end(command: Sequence[str], patience: float, variables: Mapping[str, str] | None = None) -> None:
    """Run a command to its end. Raises PeerFailed unless it exits with 0 within patience seconds."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience, check=False, env=variables)
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"{Path(command[0]).name}: did not end within {patience:g} s") from None
    except OSError as error:
        raise PeerFailed(f"{command[0]}: cannot be run: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise PeerFailed(
            f"{Path(command[0]).name}: exit code {done.returncode}: {lines[-1] if lines else 'no message'}"
        )
