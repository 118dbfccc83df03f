"""What the documentation shows against what is there: usage, files, numbers, links."""

import ast
import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from gpt2_recipe.checkpoint import READERS
from gpt2_recipe.config import ACTIVATIONS, ALIASES, OTHER_ACTIVATIONS
from gpt2_recipe.hub import ADAPTERS
from gpt2_recipe.readers.torch_file import WRAPPERS
from gpt2_recipe.weights import CLASSIFIERS, OTHER_HEADS
from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.cli.classify.arguments import build_argparser as build_classify_argparser
from support import ROOT
from support.pages import PAGES

DEMO = ROOT / "demos/gpt2_text_prediction_demo/python"


def words(text: str) -> str:
    """Return a text without its layout, which argparse changes from one Python to the next."""
    text = re.sub(r"(?<=\w) ([A-Z]+)(?=(?:, -+\w+(?: \1)?)*, -+\w+ \1\b)", "", text)  # before Python 3.13
    return " ".join(re.sub(r"[\[\]|]", " ", text).split())


def test_the_demos_readme_shows_the_usage_that_help_prints():
    shown = (DEMO / "README.md").read_text(encoding="utf-8")
    block = next(part for part in shown.split("```") if part.strip().startswith("usage:"))
    options = block[block.index("Options:") :]
    printed = build_argparser().format_help()
    assert words(options) == words(printed[printed.index("Options:") :])


def test_the_page_on_labels_shows_the_usage_that_help_prints():
    page = (ROOT / "docs/classify.md").read_text(encoding="utf-8")
    options = page[page.index("Options:") :].partition("```")[0]
    printed = build_classify_argparser().format_help()
    assert words(options) == words(printed[printed.index("Options:") :])


def test_every_flag_says_whether_it_is_required_and_what_its_default_is():
    for action in build_argparser()._actions[1:]:
        assert action.help.startswith("Required. ") or "Default: " in action.help or action.nargs == 0, action.help


def test_the_demos_requirements_are_those_of_the_package():
    packaged = (ROOT / "setup.cfg").read_text(encoding="utf-8").split()
    for line in (DEMO / "requirements.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or line in packaged


@pytest.mark.parametrize("name", ["gpt-2", "gpt-2-medium", "gpt-2-large", "gpt-2-xl", "distilgpt2", "gpt-2-mini"])
def test_a_models_readme_gives_the_numbers_of_its_configuration(name):
    page = (ROOT / f"models/public/{name}/README.md").read_text(encoding="utf-8")
    embedded = ROOT / "models/public" / name / "config.json"
    published = ROOT / "tests/data/configs" / f"{name}.json"
    config = json.loads((embedded if embedded.exists() else published).read_bytes())
    layers, width, vocabulary = config["n_layer"], config["n_embd"], config["vocab_size"]
    length = config["n_positions"]
    blocks = layers * (12 * width**2 + 13 * width)
    parameters = blocks + (vocabulary + length) * width + 2 * width
    products = 2 * length * (12 * layers * width**2 + vocabulary * width) + 4 * layers * length**2 * width
    assert re.search(rf"\| MParams +\| {parameters / 1e6:.4f} ", page)
    assert re.search(rf"\| GFlops +\| {products / 1e9:.4f} ", page)
    (formula,) = re.findall(r"`(2 \* \d+ \* \(12 .+?)`", page)
    assert arithmetic(formula) == products


def arithmetic(formula: str) -> int:
    tree = ast.parse(formula, mode="eval")
    assert all(isinstance(node, ast.Constant | ast.BinOp | ast.operator | ast.Expression) for node in ast.walk(tree))
    return eval(compile(tree, "README", "eval"))  # numbers and operators only


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_ours_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.M) if anchor else []
        assert not anchor or anchor in [anchor_of(heading) for heading in headings], target


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def test_every_line_that_troubleshooting_explains_is_one_that_we_print():
    sources = [ROOT / "Makefile", *(ROOT / "tools").rglob("*.py"), *DEMO.rglob("*.py")]
    sources += (ROOT / "models/public/gpt-2/gpt2_recipe").rglob("*.py")
    code = re.sub(r"[\"']?\s*\n\s*f?[\"']", "", "".join(path.read_text(encoding="utf-8") for path in sources))
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    section = page.partition("## What the lines mean")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| `(.+?)` \| ", section, flags=re.M)
    assert len(lines) > 20
    for line in lines:
        for fragment in re.split("…", line):
            assert fragment.strip(' "():;,') in code, fragment


def test_the_models_list_and_the_demos_readme_name_the_models_that_predict_text():
    task = re.compile("^task_type: text_prediction$", flags=re.M)
    descriptors = (ROOT / "models/public").glob("*/model.yml")
    expected = sorted(path.parent.name for path in descriptors if task.search(path.read_text(encoding="utf-8")))
    listed = (DEMO / "models.lst").read_text(encoding="utf-8").splitlines()
    assert [line for line in listed if not line.startswith("#")] == expected
    section = (
        (DEMO / "README.md").read_text(encoding="utf-8").partition("### Supported Models\n")[2].partition("\n#")[0]
    )
    assert re.findall(r"^\* \[(.+?)\]", section, flags=re.M) == expected


def test_the_page_on_conversion_names_all_that_is_read():
    page = (ROOT / "docs/convert.md").read_text(encoding="utf-8")
    for name in [*ACTIVATIONS, *OTHER_ACTIVATIONS, *ALIASES, *READERS, *ADAPTERS, *OTHER_HEADS, *WRAPPERS]:
        assert f"`{name}" in page or f"`{Path(name).suffix}`" in page, name
    for model in CLASSIFIERS.values():
        assert model in page


def test_readme_can_be_read_at_once_and_shows_the_figures_of_the_benchmarks_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(readme) <= 200
    begin = readme.index("## Beside the others")
    rows = [line for line in readme[begin : readme.index("## Licence")] if line.startswith("|")]
    page = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 5
    assert [row for row in page if row in rows] == rows


def test_the_list_of_models_has_what_their_pages_say():
    page = (ROOT / "models/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\) \| ([\d.]+) \| (.+?) \|", page, flags=re.M)
    assert sorted(name for name, *_ in listed) == sorted(
        path.parent.name for path in (ROOT / "models/public").glob("*/model.yml")
    )
    for name, link, millions, download in listed:
        own = (ROOT / "models" / link).read_text(encoding="utf-8")
        (parameters,) = re.findall(r"\| MParams +\| ([\d.]+) ", own)
        assert f"{float(parameters):.1f}" == millions, name
        assert name == "gpt-2-mini" or f"The download is {download}." in own, name
    for path in (ROOT / "models/datasets").glob("*/dataset.yml"):
        assert f"](datasets/{path.parent.name}/README.md)" in page


def test_every_command_and_every_extra_has_its_place():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    tools = (ROOT / "tools/README.md").read_text(encoding="utf-8")
    for line in config["options.entry_points"]["console_scripts"].split("\n")[1:]:
        assert f"| `{line.split()[0]} " in tools, line
    install = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    for extra in config["options.extras_require"]:
        assert f"[{extra}]'`" in install, extra
