"""publish: whenever the process dies, the place holds the whole old folder or the whole new one."""

import itertools
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.common.publish import FolderPlace, publish_file

OLD = {"m.xml": "old xml", "m.bin": "old bin", "vocab.json": "old vocab"}
NEW = {"m.xml": "new xml", "m.bin": "new bin", "vocab.json": "new vocab", "merges.txt": "new merges"}
MINE = {"notes.txt": "the user's", "cache/blob": "the user's too"}

# Steps are counted over renames and removals; a removal can also die after its first file.
DYING = textwrap.dedent(
    """
    import os, shutil, signal, sys
    from pathlib import Path
    from omz_model_tools.common.publish import FolderPlace

    action, target, last, within = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "within"
    steps = 0

    def die_if_due():
        global steps
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1

    def rename(source, target):
        die_if_due()
        os.replace(source, target)

    def remove(folder):
        if within and steps == last:
            min(path for path in folder.iterdir() if path.is_file()).unlink()
        die_if_due()
        shutil.rmtree(folder)

    getattr(FolderPlace(target, rename, remove), action)()
    """
)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def prepare(folder: Path, had: bool) -> FolderPlace:
    place = FolderPlace(folder / "FP16")
    if had:
        write(place.target, OLD | MINE)
    write(place.new, NEW)
    return place


def dies(action: str, target: Path, step: int, within: bool) -> bool:
    """Run it in a process that kills itself before that step; False if there are not so many steps."""
    argv = [sys.executable, "-c", DYING, action, str(target), str(step), "within" if within else "before"]
    code = subprocess.run(argv, check=False).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


def whole(place: FolderPlace, had: bool, may_be_absent: bool = False) -> None:
    """The invariant, with nothing left beside the place."""
    found = content(place.target)
    if had:
        assert found in (OLD | MINE, NEW | MINE)
    else:
        assert found == NEW or (may_be_absent and not place.target.exists())
    assert [path.name for path in place.target.parent.iterdir()] == ["FP16"] * place.target.exists()


@pytest.mark.parametrize("had", [True, False])
def test_a_new_folder_takes_its_place_and_foreign_files_stay(tmp_path: Path, had: bool) -> None:
    place = prepare(tmp_path, had)
    place.publish()
    assert content(place.target) == (NEW | MINE if had else NEW)
    whole(place, had)


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("within", [True, False])
def test_killed_at_any_step_then_recovered(tmp_path: Path, had: bool, within: bool) -> None:
    for step in itertools.count():
        folder = tmp_path / str(step)
        place = prepare(folder, had)
        died = dies("publish", place.target, step, within)
        place.recover()
        whole(place, had, may_be_absent=died)
        if not died:
            break
    assert step == (5 if had else 1)  # two renames, two foreign entries, one removal; or one rename


def test_killed_again_while_recovering(tmp_path: Path) -> None:
    deaths = 0
    for first in range(5):
        for second in range(5):
            place = prepare(tmp_path / f"{first}-{second}", had=True)
            assert dies("publish", place.target, first, within=True)
            deaths += dies("recover", place.target, second, within=True)
            place.recover()
            whole(place, had=True)
    assert deaths >= 8


@pytest.mark.parametrize("step", range(5))
def test_an_interrupt_at_any_step_leaves_nothing_behind(tmp_path: Path, step: int) -> None:
    """Ctrl-C is an exception: publish itself must end in a whole state, without a next start."""
    counter = itertools.count()

    def rename(source: Path, target: Path) -> None:
        source.replace(target)
        if next(counter) == step:
            raise KeyboardInterrupt

    prepared = prepare(tmp_path, had=True)
    place = FolderPlace(prepared.target, rename)
    if step < 4:
        with pytest.raises(KeyboardInterrupt):
            place.publish()
    else:
        place.publish()
    whole(place, had=True)


def test_an_old_folder_is_restored_where_the_new_one_never_came(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "FP16")
    write(place.old, OLD)
    place.recover()
    assert content(place.target) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["FP16"]


def test_without_leftovers_recovering_changes_nothing(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "FP16")
    place.recover()
    assert list(tmp_path.iterdir()) == []
    write(place.target, OLD | MINE)
    place.recover()
    assert content(place.target) == OLD | MINE


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "FP16")
    place.check()
    place.target.write_text("mine")
    with pytest.raises(Problem) as caught:
        place.check()
    assert str(caught.value) == f"{tmp_path}/FP16: expected a folder or nothing, got a file; move it away"
    place.target.unlink()
    place.target.symlink_to(tmp_path)
    with pytest.raises(Problem, match="got a symbolic link; move it away"):
        place.check()


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / "part").write_text("new")
    publish_file(tmp_path / "part", tmp_path / "x")
    assert content(tmp_path) == {"x": "new"}
