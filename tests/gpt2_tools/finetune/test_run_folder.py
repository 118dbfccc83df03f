"""run_folder: checkpoints are whole or not there, and a run with other settings is refused by name."""

import json
import shutil
from pathlib import Path

import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.run_folder import RunFolder, refuse_changes
from gpt2_tools.finetune.settings import Settings

FACTS = {
    "settings": {"block_size": 16, "batch_size": 2, "lora": None},
    "size": {"n_layer": 2, "n_embd": 16},
    "model_files": [{"path": "toy/model.safetensors", "sha256": "a" * 64}],
    "tokenizer_sha256": "e" * 64,
    "processes": 1,
    "data": [{"path": "book.txt", "sha256": "b" * 64, "column": None}],
    "validation_data": [],
}


def settings(**more):
    return Settings(Path("book.txt"), "toy", **more)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.write_facts(FACTS)
        for step in (5, 10, 20):
            folder.save(step, 0, lambda new: (new / "trainer_state.json").write_text("{}"))
    return folder


def names(run):
    return sorted(path.name for path in run.path.iterdir())


def test_checkpoints_are_listed_by_step(run):
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [5, 10, 20]
    assert names(run) == ["checkpoint-10", "checkpoint-20", "checkpoint-5", "run.json"]


def test_a_save_that_fails_leaves_nothing(run):
    def fail(new):
        (new / "model").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match=r"checkpoint-30: No space left on device"):
        run.save(30, 0, fail)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [5, 10, 20]
    assert not list(run.path.glob(".checkpoint*"))


def test_a_damaged_checkpoint_is_refused_with_the_last_good_one(run):
    """A byte that flips changes neither the length nor the form of a file."""
    newest, middle, first = reversed(run.checkpoints())
    run.require_whole(newest)
    for checkpoint, good in ((newest, middle.path), (middle, first.path), (first, "fresh")):
        path = checkpoint.path / "trainer_state.json"
        path.write_text("[}")
        with pytest.raises(Problem, match="was changed or damaged since it was saved") as caught:
            run.require_whole(checkpoint)
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).endswith(f"; give --restore_from {good} --overwrite")
    path.unlink()
    assert first.damage() == f"{path}: is missing"
    (first.path / "checksums.json").write_text("1")
    assert first.damage().startswith(f"{first.path / 'checksums.json'}: cannot be read: ")


def test_all_files_of_a_checkpoint_have_the_mode_of_new_files(run):
    def write(new):
        (new / "model.safetensors").write_text("weights")
        (new / "model.safetensors").chmod(0o600)

    run.save(30, 0, write)
    (run.path / "new").touch()
    modes = {path.stat().st_mode for path in (run.path / "checkpoint-30").iterdir()}
    assert modes == {(run.path / "new").stat().st_mode}


def test_a_save_without_room_is_refused_before(run):
    with pytest.raises(Exception, match="of free space for checkpoint-30"):
        run.save(30, 2**62, lambda new: None)


def test_the_latest_and_the_best_are_kept(run):
    run.prune(1, best=5)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [5, 20]


def test_what_a_killed_run_left_is_cleaned_up(run):
    for name in (".checkpoint-30.new", ".checkpoint-5.deleted"):
        (run.path / name).mkdir()
    (run.path / "checkpoint-10").rename(run.path / ".checkpoint-10.old")
    with run.locked():
        assert names(run) == [".gpt2_finetune.lock", "checkpoint-10", "checkpoint-20", "checkpoint-5", "run.json"]


def test_a_run_folder_in_use_is_refused(run):
    with run.locked(), pytest.raises(Problem, match="another gpt2_finetune is at work here"), run.locked():
        pass


def test_the_latest_checkpoint_is_resumed(run):
    assert run.choose(settings()).step == 20


def test_a_run_without_checkpoints_begins(run):
    for checkpoint in run.checkpoints():
        run.delete(checkpoint)
    assert run.choose(settings()) is None


def test_another_checkpoint_is_resumed_where_the_later_may_go(run):
    earlier = settings(restore_from=str(run.path / "checkpoint-10"))
    with pytest.raises(Problem, match="checkpoint-20: would be lost; give another --run_name, --overwrite"):
        run.choose(earlier)
    overwriting = settings(restore_from=str(run.path / "checkpoint-10"), overwrite=True)
    assert run.choose(overwriting).step == 10
    (run.path / "samples").mkdir()
    for step in (10, 11):
        (run.path / f"samples/samples-{step}.txt").touch()
    run.forget_after(10)
    assert [path.name for path in (run.path / "samples").iterdir()] == ["samples-10.txt"]
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [5, 10]


def test_a_fresh_run_does_not_delete_unasked(run):
    with pytest.raises(Problem, match="checkpoint-20: would be lost"):
        run.choose(settings(restore_from="fresh"))
    assert run.choose(settings(restore_from="fresh", overwrite=True)) is None
    run.forget_after(0)
    assert run.checkpoints() == []


def test_a_checkpoint_of_another_run_is_refused(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "other")
    with pytest.raises(Problem, match="--restore_from: expected latest, fresh or a checkpoint of this run"):
        run.choose(settings(restore_from=str(tmp_path / "other/checkpoint-5")))


def test_a_finished_model_is_not_replaced_unasked(run):
    for checkpoint in run.checkpoints():
        run.delete(checkpoint)
    (run.path / "model").mkdir()
    with pytest.raises(Problem, match=r"model: would be lost; give another --run_name, --overwrite to delete it$"):
        run.choose(settings())
    assert run.choose(settings(overwrite=True)) is None


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"settings": {"block_size": 8, "batch_size": 2}}, "--block_size: run was begun with 16, got 8"),
        ({"settings": {"block_size": 16, "batch_size": 4}}, "--batch_size: run was begun with 2, got 4"),
        ({"settings": FACTS["settings"] | {"lora": 4}}, "--lora: run was begun with None, got 4"),
        (
            {"size": {"n_layer": 3, "n_embd": 16}},
            "--model: run was begun with n_layer 2, n_embd 16, got n_layer 3, n_em",
        ),
        (
            {"model_files": [{"path": "other/model.safetensors", "sha256": "c" * 64}]},
            "--model: run was begun with other files: other/model.safetensors has the SHA-256 cccccccccccc, expected a",
        ),
        ({"tokenizer_sha256": "c" * 64}, "--model: its tokenizer was changed since run was begun"),
        (
            {"settings": FACTS["settings"] | {"from_scratch": None, "precision": "bf16"}},
            "--precision: run was begun with auto, got bf16",
        ),
        ({"processes": 2}, "torchrun: run was begun with 1, got 2"),
        (
            {"data": [{"path": "new.txt", "sha256": "d" * 64, "column": None}]},
            "--dataset: run was begun with other files: new.txt has the SHA-256 dddddddddddd, expected bbbbbbbbbbbb",
        ),
        ({"data": FACTS["data"] * 2}, "--dataset: run was begun with other files: 2 files, expected 1"),
        ({"validation_data": FACTS["data"]}, "--validation_file: run was begun with other files: 1 files, expected 0"),
    ],
)
def test_what_a_run_keeps_is_refused_by_name_if_it_changed(changed, line):
    with pytest.raises(Problem) as caught:
        refuse_changes(Path("run"), FACTS, FACTS | changed)
    assert str(caught.value).startswith(line)
    assert "give another --run_name, or --restore_from fresh --overwrite" in str(caught.value)


def test_broken_settings_are_refused(run):
    (run.path / "run.json").write_text("{")
    with pytest.raises(Problem, match=r"run.json: cannot be read"):
        run.check(FACTS)
    for content in ("[]", "{}", json.dumps(FACTS | {"data": 1})):
        (run.path / "run.json").write_text(content)
        with pytest.raises(Problem, match=r"run.json: expected the settings of a run; move"):
            run.check(FACTS)
    (run.path / "run.json").unlink()
    with pytest.raises(Problem, match=r"run.json: expected the settings of the run, got no file"):
        run.check(FACTS)


def test_facts_are_read_back(run):
    assert run.facts() == json.loads(json.dumps(FACTS))
