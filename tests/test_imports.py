"""The import rule of the house: who may import whom. A row here is a row of CONTRIBUTING.md."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from support import ROOT

OURS = {"omz_models", "gpt2_recipe", "gpt2_text_prediction", "omz_model_tools", "gpt2_tools"}
ANYWHERE = {
    "gpt2_recipe": {"numpy", "openvino", "safetensors"},
    "gpt2_text_prediction": {"numpy", "openvino", "tokenizers"},
    "omz_model_tools": {"yaml", "requests", "tqdm", "urllib3"},
    "gpt2_tools": {"gpt2_recipe", "gpt2_text_prediction", "omz_model_tools", "numpy", "openvino", "safetensors"},
    "omz_models": set(),
}
INSIDE_FUNCTIONS = {
    "gpt2_recipe": {"tokenizers", "torch"},
    "gpt2_text_prediction": {"argcomplete"},
    "omz_model_tools": {"openvino", "nncf", "numpy", "onnx", "huggingface_hub", "argcomplete"},
}
ANYTHING_INSIDE_FUNCTIONS = {"gpt2_tools"}


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool, int]]:
    """Yield (module, whether inside a function, line); what only a type checker reads does not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module), inside, node.lineno
        yield from imports(node, inside or isinstance(node, ast.FunctionDef | ast.Lambda))


def modules_of(package: str) -> list[Path]:
    folders = find_spec(package).submodule_search_locations
    files = [path for folder in folders for path in Path(folder).rglob("*.py")]
    return [path for path in files if package != "omz_models" or path.parent.name == "models"]


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_what_its_row_allows(package):
    modules = modules_of(package)
    assert modules
    breaches = []
    for path in modules:
        for module, inside, line in imports(ast.parse(path.read_text(encoding="utf-8"))):
            name = module.partition(".")[0]
            allowed = ANYWHERE[package] | {package} | (INSIDE_FUNCTIONS.get(package, set()) if inside else set())
            anything = inside and package in ANYTHING_INSIDE_FUNCTIONS
            if name not in sys.stdlib_module_names and name not in allowed and not anything:
                breaches.append(f"{path}:{line}: {module}")
    assert not breaches


def names(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield (module, name, line) of every `from module import name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((str(node.module), alias.name, node.lineno) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)


def is_public(module: str, name: str) -> bool:
    """Tell whether a package says that others may use a name of it, or is all that is imported."""
    found = import_module(module)
    public = getattr(found, "__all__", ())
    is_room = hasattr(found, "__path__")
    return is_room and (name in public or not name or import_module_or_none(f"{module}.{name}") is not None)


def import_module_or_none(module: str) -> ModuleType | None:
    found = find_spec(module)
    return import_module(module) if found is not None and found.submodule_search_locations is not None else None


@pytest.mark.parametrize("package", sorted(OURS))
def test_other_packages_use_the_public_names_of_a_room(package):
    """What a room's `__init__` lists in `__all__`; a room itself, as `from omz_model_tools import common`, is one."""
    breaches = [
        f"{path}:{line}: {module}: {name}"
        for path in modules_of(package)
        for module, name, line in names(ast.parse(path.read_text(encoding="utf-8")))
        if module.partition(".")[0] in OURS - {package} and not is_public(module, name)
    ]
    assert not breaches


def test_every_package_says_what_it_is_for():
    for package in OURS:
        for path in modules_of(package):
            if path.name == "__init__.py":
                assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_a_room_is_looked_over_at_a_glance():
    rooms = Counter(path.parent for package in OURS for path in modules_of(package) if path.name != "__init__.py")
    assert {room: count for room, count in rooms.items() if count > 16} == {}


def test_the_rule_of_public_names_sees_a_breach():
    assert is_public("gpt2_text_prediction.engine", "Engine")
    assert not is_public("gpt2_text_prediction.engine.engine", "Engine")
    assert not is_public("gpt2_text_prediction.engine", "scheduler")
    assert is_public("omz_model_tools", "common")


@pytest.mark.parametrize("package", sorted(OURS))
def test_nobody_touches_sys_path(package):
    """But the export of a foreign model, in a process of its own: its descriptor says where its modules lie."""
    export = Path(find_spec("omz_model_tools.convert.onnx.export").origin)
    for path in set(modules_of(package)) - {export}:
        assert "sys.path" not in path.read_text(encoding="utf-8"), path


def test_the_rule_sees_a_breach():
    source = "import torch\ndef f():\n    from openvino import Core\nif TYPE_CHECKING:\n    import jax\n"
    assert list(imports(ast.parse(source))) == [("torch", False, 1), ("openvino", True, 3)]


def test_contributing_shows_the_same_table():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = {
        line.split("|")[1].split("`")[1]: line.split("|")[2] for line in text.splitlines() if line.startswith("| `")
    }
    for package in ("gpt2_recipe", "gpt2_text_prediction", "omz_model_tools"):
        for name in ANYWHERE[package] | INSIDE_FUNCTIONS.get(package, set()) - {"nncf"}:
            assert name in rows[package], (package, name)
