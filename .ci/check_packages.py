"""Build the wheel and the sdist, and run the commands from each in an environment and a folder of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOMENT = "1700000000"  # seconds since 1970


def main() -> int:
    """Return 0, or stop with the command that failed."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = work / "source"  # a copy: setuptools puts what it finds in an old build/ into a new wheel
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*venv*", ".git", "build", "*.egg-info"))
        run(sys.executable, "-m", "build", "--outdir", work / "dist", source)  # the sdist, and the wheel from it
        run(sys.executable, "-m", "build", "--wheel", "--outdir", work / "direct", source)
        (from_sdist,), (direct,) = (sorted((work / name).glob("*.whl")) for name in ("dist", "direct"))
        if contents(from_sdist) != contents(direct):
            raise SystemExit(f"the sdist loses or adds files: {contents(from_sdist) ^ contents(direct)}")
        if from_sdist.read_bytes() != direct.read_bytes():
            raise SystemExit("the sdist makes a wheel with other bytes")
        try_out(direct, work / "environment", work / "elsewhere")
    print("wheel and sdist: the commands work")
    return 0


def try_out(wheel: Path, environment: Path, elsewhere: Path) -> None:
    """Install a wheel into an empty environment and run the commands from a folder that is not the checkout."""
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    elsewhere.mkdir()
    commands = environment / "bin"
    run(commands / "omz_downloader", "--print_all", cwd=elsewhere)
    run(commands / "omz_data_downloader", "--print_all", cwd=elsewhere)
    run(commands / "omz_info_dumper", "--name", "gpt-2-mini", cwd=elsewhere)
    run(commands / "omz_downloader", "--name", "gpt-2-mini", cwd=elsewhere)
    run(commands / "omz_converter", "--name", "gpt-2-mini", cwd=elsewhere)
    ir = "public/gpt-2-mini/FP16/gpt-2-mini.xml"
    run(commands / "gpt2_text_prediction_demo", "-m", ir, "-i", "The poem was written by", cwd=elsewhere)
    run(commands / "accuracy_check", "--help", cwd=elsewhere)


def contents(wheel: Path) -> set[str]:
    """Return the names in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command, its output shown; stop where it fails."""
    print("$", *command, flush=True)
    same_times = {**os.environ, "SOURCE_DATE_EPOCH": MOMENT}  # in archives
    subprocess.run([str(word) for word in command], cwd=cwd, check=True, env=same_times)


if __name__ == "__main__":
    sys.exit(main())
