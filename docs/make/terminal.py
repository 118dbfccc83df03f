"""Draws docs/pictures/terminal.svg, a session in a terminal: python docs/make/terminal.py, with our commands installed.

The commands are run, in an empty folder; a test holds the picture's text to what they print.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from html import escape
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "pictures/terminal.svg"
IR = "public/gpt-2-mini/FP16/gpt-2-mini.xml"
SESSION = [
    "omz_downloader --name gpt-2-mini --quiet",
    "omz_converter --name gpt-2-mini --precisions FP16",
    f'gpt2_text_prediction_demo -m {IR} \\\n    -i "The poem was written by" --temperature 0 2>/dev/null',
]
"""As they are typed; the texts are the same on any CPU in f32, which they are run with."""
EXACT = {"gpt2_text_prediction_demo": " --precision_hint f32"}
WIDTH, LINE, SIZE, MARGIN = 860, 20, 14, 20
BACKGROUND, FRAME, TEXT, PROMPT, TYPED = "#0d1117", "#30363d", "#c9d1d9", "#3fb950", "#ffffff"


def main() -> None:
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(drawn(transcript(Path(folder))), encoding="utf-8")


def transcript(folder: Path) -> list[str]:
    """Run the session in a folder; return the lines of the terminal, in which that folder is ~."""
    lines = []
    commands = sysconfig.get_path("scripts")
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    for command in SESSION:
        exact = command + EXACT.get(command.split()[0], "")
        done = subprocess.run(["bash", "-c", exact], cwd=folder, env=environment, capture_output=True, check=False)
        if done.returncode:
            sys.exit(done.stderr.decode())
        printed = done.stdout.decode().replace(str(folder.resolve()), "~").rstrip("\n")
        lines += [*f"$ {command}".split("\n"), *(printed.split("\n") if printed else [])]
    return lines


def drawn(lines: list[str]) -> str:
    """Return an SVG of lines: a terminal with three buttons, what was typed brighter than what was printed."""
    height = 56 + LINE * len(lines) + MARGIN
    buttons = "".join(
        f'<circle cx="{22 + 20 * i}" cy="20" r="6" fill="{fill}"/>'
        for i, fill in enumerate(["#ff5f56", "#ffbd2e", "#27c93f"])
    )
    typed = False
    spans = []
    for i, line in enumerate(lines):
        typed = line.startswith("$ ") or (typed and lines[i - 1].endswith("\\"))
        shown = escape(line, quote=False)
        if line.startswith("$ "):
            shown = f'<tspan fill="{PROMPT}">$</tspan>{shown[1:]}'
        fill = TYPED if typed else TEXT
        spans.append(f'<text x="{MARGIN}" y="{56 + LINE * i}" fill="{fill}" xml:space="preserve">{shown}</text>')
    font = f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{SIZE}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" {font}>',
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{BACKGROUND}" stroke="{FRAME}"/>',
            buttons,
            *spans,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    main()
