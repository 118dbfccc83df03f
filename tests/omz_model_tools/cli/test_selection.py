"""What all commands share: --version, --models_dir, patterns, broken descriptors."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from support.model_tree import dataset, descriptor, file_entry, write_dataset, write_model

COMMANDS = ("omz_downloader", "omz_converter", "omz_info_dumper", "omz_data_downloader")
MODEL_COMMANDS = COMMANDS[:3]
HEADING = "################|| Downloading {} ||################\n\n"


def transcript(done: subprocess.CompletedProcess) -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def local(name: str, text: str) -> dict:
    """A file beside its descriptor."""
    return file_entry(name, text.encode(), {"$type": "file", "path": "source"})


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A user's tree with a model that is broken and one that can be downloaded; the same for data sets."""
    root = tmp_path / "zoo"
    for write, make in ((write_model, descriptor), (write_dataset, dataset)):
        write(root, "broken", make(license=None))
        write(root, "toy", make(local("x", "abc"))).with_name("source").write_text("abc")
    return root


@pytest.mark.parametrize("name", COMMANDS)
def test_version(run, name: str, tmp_path: Path) -> None:
    assert transcript(run(name, "--version", cwd=tmp_path)) == (0, f"{name} {version('omz-gpt2')}\n", "")


def test_the_version_is_looked_up_only_when_asked_for() -> None:
    program = (
        "import sys; from omz_model_tools.cli.info_dumper import info_dumper; info_dumper(['--print_all']); "
        "print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_broken_descriptor_does_not_hide_the_names(run, name: str, zoo: Path) -> None:
    code, out, err = transcript(run(name, "--print_all", "--models_dir", zoo, cwd=zoo))
    assert (code, err) == (0, "")
    assert {"broken", "toy"} < set(out.splitlines())


@pytest.mark.parametrize("name", MODEL_COMMANDS)
def test_a_composite_model_is_named_as_such(run, name: str, zoo: Path) -> None:
    """Open Model Zoo's forward-tacotron and wavernn: composite-model.yml, and a folder for each stage."""
    folder = zoo / "public/speech"
    for stage in ("speech-tail", "speech-head"):
        (folder / stage).mkdir(parents=True)
        shutil.copy(zoo / "public/toy/model.yml", folder / stage)
    (folder / "composite-model.yml").write_text("description: Two.\nstages_order: [speech-head, speech-tail]\n")
    assert "speech" in transcript(run(name, "--print_all", "--models_dir", zoo, cwd=zoo))[1].splitlines()
    code, out, err = transcript(run(name, "--name", "speech", "--models_dir", "zoo", cwd=zoo.parent))
    assert (code, out.splitlines()[-1]) == (1, "[]" if name == "omz_info_dumper" else "speech")
    assert err == (
        "########## Error: zoo/public/speech/composite-model.yml: expected a single model, got a composite one of "
        "speech-head, speech-tail; to use a stage alone, copy its folder beside that of the composite model\n"
    )
    shutil.copytree(folder / "speech-head", zoo / "public/speech-head")
    assert transcript(run("omz_info_dumper", "--name", "speech-head", "--models_dir", zoo, cwd=zoo))[0] == 0
    err = transcript(run(name, "--name", "speech-tail", "--models_dir", zoo, cwd=zoo))[2]
    assert err.startswith('No matching models: "speech-tail"; did you mean speech')


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tree_may_come_from_the_environment(run, name: str, zoo: Path, tmp_path: Path) -> None:
    for write, make in ((write_model, descriptor), (write_dataset, dataset)):
        write(tmp_path / "second", "toy-2", make())
    trees = os.pathsep.join([str(zoo), "", str(tmp_path / "second")])
    code, out, err = transcript(run(name, "--print_all", cwd=zoo, env={"OMZ_MODELS_DIR": trees}))
    assert (code, err) == (0, "")
    assert {"broken", "toy", "toy-2"} < set(out.splitlines())


def test_another_model_is_downloaded_although_one_is_broken(run, zoo: Path, tmp_path: Path) -> None:
    done = run("omz_downloader", "--name", "toy", "--models_dir", "zoo", cwd=tmp_path)
    out = HEADING.format("toy") + f"========== Downloading {tmp_path}/public/toy/x\n\n"
    assert transcript(done) == (0, out, "")
    assert (tmp_path / "public/toy/x").read_text() == "abc"


@pytest.mark.parametrize(("name", "folder"), [("omz_downloader", "public"), ("omz_data_downloader", "datasets")])
def test_a_broken_one_is_one_that_failed(run, name: str, folder: str, zoo: Path, tmp_path: Path) -> None:
    done = run(name, "--name", "broken,to*", "--models_dir", "zoo", cwd=tmp_path)
    out = HEADING.format("toy") + f"========== Downloading {tmp_path}/{folder}/toy/x\n\nFAILED:\nbroken\n"
    file = {"public": "model.yml", "datasets": "dataset.yml"}[folder]
    err = f'########## Error: zoo/{folder}/broken/{file}: "license": expected a value, got no such key\n'
    assert transcript(done) == (1, out, err)


def test_the_converter_goes_on_after_a_broken_one(run, zoo: Path, tmp_path: Path) -> None:
    done = run("omz_converter", "--name", "broken,gpt-2-mini", "--dry_run", "--models_dir", zoo, cwd=tmp_path)
    code, out, err = transcript(done)
    assert (code, out.splitlines()[0], out.splitlines()[-2:]) == (
        1, "========== (DRY RUN) Converting gpt-2-mini to IR (FP16)", ["FAILED:", "broken"]
    )  # fmt: skip
    assert err == '########## Error: zoo/public/broken/model.yml: "license": expected a value, got no such key\n'


def test_a_users_descriptor_of_a_packaged_name_is_used_and_said(run, zoo: Path, tmp_path: Path) -> None:
    write_model(zoo, "gpt-2-mini", descriptor(local("x", "abc"))).with_name("source").write_text("abc")
    done = run("omz_downloader", "--name", "gpt-2-mini", "--models_dir", "zoo", cwd=tmp_path)
    out = HEADING.format("gpt-2-mini") + f"========== Downloading {tmp_path}/public/gpt-2-mini/x\n\n"
    line = "gpt-2-mini: zoo/public/gpt-2-mini/model.yml is used instead of the packaged descriptor\n"
    assert transcript(done) == (0, out, line)
    done = run("omz_downloader", "--name", "toy", "--models_dir", "zoo", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_no_tree(run, name: str, zoo: Path, tmp_path: Path) -> None:
    expected = "expected a tree of models with a folder public/ in it, got"
    done = run(name, "--print_all", "--models_dir", "zoo", "--models_dir", "nowhere", cwd=tmp_path)
    assert transcript(done) == (1, "", f"nowhere: {expected} no such folder\n")
    done = run(name, "--print_all", cwd=tmp_path, env={"OMZ_MODELS_DIR": "zoo/public"})
    assert transcript(done) == (1, "", f"zoo/public: {expected} a part of one; give zoo\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_list_without_patterns_chooses_nothing_and_says_so(run, name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.lst").write_text("# none yet\n")
    done = run(name, "--list", "empty.lst", cwd=tmp_path)
    code, out, err = transcript(done)
    assert (code, err) == (0, "empty.lst: has no patterns, so nothing is selected\n")
    assert out in ("", "[]\n")


@pytest.mark.parametrize("name", MODEL_COMMANDS)
def test_the_same_name_in_two_trees_of_users(run, name: str, zoo: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "other", "toy", descriptor())
    done = run(name, "--all", "--models_dir", "zoo", cwd=tmp_path, env={"OMZ_MODELS_DIR": "other"})
    line = "zoo/public/toy/model.yml: expected a name of its own, got that of other/public/toy/model.yml\n"
    assert transcript(done) == (1, "", line)
