"""Runs of gpt2_finetune that can be killed: a process imports PyTorch and transformers once, and forks for each run.

As a script it answers JSON lines: {"argv": [...], "folder": ..., ...} with the pid of the run, {"wait": pid} with its
exit code, negative for a signal. `FinetuneServer` is its client.
"""

import contextlib
import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.toy import Toy

TOY = Toy(n_embd=16, n_positions=32)
TINY = ("--block_size", 16, "--batch_size", 2, "--threads", 1, "--precision", "f32", "--learning_rate", 1e-3)
"""A run of milliseconds a step."""
WORDS = "the hen in the tall grass hears a storm; she runs home. \n"
LABELS = {"calm": ("hen", "grass", "home"), "loud": ("storm", "roar", "bang"), "odd": ("eel", "oboe", "id")}


def write_toy(folder: Path) -> Path:
    """Write a checkpoint `toy` and a `book.txt` of about 2000 tokens into a folder; return it."""
    TOY.write(folder / "toy")
    (folder / "book.txt").write_text("".join(f"{i} {WORDS}" for i in range(45)), encoding="utf-8")
    return folder


def write_labelled(folder: Path, count: int = 60) -> Path:
    """Write a checkpoint `toy` and a `texts.csv` with three labels that a toy can learn; return the folder."""
    TOY.write(folder / "toy")
    rng = random.Random(3)
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for i in range(count):
            label = list(LABELS)[i % 3]
            table.writerow([" ".join(rng.choices(LABELS[label], k=rng.randint(1, 5))), label])
    return folder


@dataclass
class Run:
    """A run that was started; its streams are files."""

    server: "FinetuneServer"
    pid: int
    folder: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return self.server._ask(wait=self.pid)

    @property
    def err(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    @property
    def out(self) -> str:
        return (self.folder / "stdout").read_text(encoding="utf-8")


class FinetuneServer:
    """Starts runs; use it with `with`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.finetune"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),  # in pytest's order
                "TOKENIZERS_PARALLELISM": "false",  # threads do not survive a fork
            },
        )

        assert self._process.stdout.readline() == "ready\n"

    def start(self, folder: Path, *argv: object, die_at: int | str | None = None, file_limit: int | None = None) -> Run:
        """Start gpt2_finetune in a folder.

        die_at: kill -9 at this file operation on a checkpoint, by number, or halfway in a file of that name.
        file_limit: the bytes that fit into a file.
        """
        arguments = [str(argument) for argument in argv]
        pid = self._ask(argv=arguments, folder=str(folder), die_at=die_at, file_limit=file_limit)
        return Run(self, pid, folder)

    def run(self, folder: Path, *argv: object, **how: Any) -> tuple[int, str]:
        """Run it to its end; return its exit code and what it said on stderr."""
        run = self.start(folder, *argv, **how)
        return run.wait(), run.err

    def _ask(self, **request: object) -> int:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(json.loads(self._process.stdout.readline()))

    def __enter__(self) -> "FinetuneServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_operation(number: int) -> None:
    """Die just before the file operation of this number (from 0) on a checkpoint."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and "checkpoint-" in str(arguments[:2]):
            if event == "open" and not set(str(arguments[1])) & set("wax+"):
                return
            seen += 1
            if seen == number + 1:
                die()

    sys.addaudithook(hook)


def die_halfway(name: str) -> None:
    """Die when the first half of a checkpoint's file of this name is written."""
    import torch  # noqa: PLC0415
    from transformers import modeling_utils  # noqa: PLC0415

    def halved(save: Any, at: int) -> Any:
        def write(*arguments: Any, **named: Any) -> None:
            save(*arguments, **named)
            path = Path(arguments[at])
            if path.name == name and path.parent.name.startswith(".checkpoint-"):
                os.truncate(path, path.stat().st_size // 2)
                die()

        return write

    torch.save = halved(torch.save, 1)
    modeling_utils.safe_save_file = halved(modeling_utils.safe_save_file, 1)


def child(request: dict[str, Any]) -> None:
    from gpt2_tools.finetune.cli import main  # noqa: PLC0415

    os.chdir(request["folder"])
    for number, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    if request["file_limit"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], resource.RLIM_INFINITY))
    if isinstance(request["die_at"], str):
        die_halfway(request["die_at"])
    elif request["die_at"] is not None:
        die_at_operation(request["die_at"])
    try:
        code = main(request["argv"])
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        warm = ["--dataset", "book.txt", "--steps", "1", "--sample_every", "1", *map(str, TINY)]
        with inside(write_toy(Path(folder))), contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
            from gpt2_tools.finetune.cli import main  # noqa: PLC0415

            assert main(["--model", "toy", *warm]) == 0  # all that is imported on the way
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                child(request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
