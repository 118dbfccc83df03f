"""Writes docs/reference.md, every public class and function, from the docstrings: python docs/make/reference.py."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt2_text_prediction.generation.logits_processors import LogitsProcessors
from gpt2_text_prediction.settings_by_name import SettingsByName

PAGE = Path(__file__).resolve().parents[1] / "reference.md"
TOP = """# Python, name by name

Made of the docstrings by `python docs/make/reference.py`; a test holds it to the code.
"""
PACKAGES: dict[str, tuple[str, list[Any]]] = {
    "gpt2_text_prediction": (
        "Continues and labels texts; [python.md](python.md) and [classify.md](classify.md) show how. "
        "`LogitsProcessors` and `SettingsByName` are not imported: others have their fields.",
        [LogitsProcessors, SettingsByName],
    ),
    "gpt2_tools.finetune": ("Trains models, as gpt2_finetune does: [finetune.md](finetune.md).", []),
}
"""A package -> what it is for, and what is shown beside its public names."""
WIDTH = 100
FULL = 105
"""A line of a docstring and the next one's first word are longer, unless the line was ended on purpose."""
NAMED = re.compile(r"([a-z]\w*(?:, [a-z]\w*)*): ")
"""Names of parameters or fields, before what a docstring says of them."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the whole page."""
    parts = [TOP]
    for package, (about, beside) in PACKAGES.items():
        module = importlib.import_module(package)
        things = [getattr(module, name) for name in module.__all__ if name != "__version__"] + beside
        parts.append(f"## {package}\n\n{about}\n")
        parts += [described(thing) for thing in sorted(things, key=lambda thing: str(thing.__name__).lower())]
    return "\n".join(parts)


def described(thing: Any) -> str:
    """Return the sections of a class with its members, or of a function."""
    name = thing.__name__
    if inspect.isfunction(thing):
        return section(f"### {name}", signature(name, code(thing)), thing)
    parts = [section(f"### {name}", class_signature(thing), thing)]
    for member, value in members(thing):
        function = unwrapped(value)
        if member == "__init__":
            parts.append(section("", signature(name, code(function)), function))
        elif inspect.isfunction(value) or isinstance(value, classmethod):
            parts.append(section(f"#### {name}.{member}", signature(member, code(function)), function))
        else:
            parts.append(section(f"#### {name}.{member}", f"{member}: {type_of(code(function).returns)}", function))
    return "\n".join(parts)


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the constructor, if users call it, and the public methods and properties, in the order of the code."""
    hidden = getattr(inspect.getmodule(kind), "INTERNAL", ())
    for name, value in vars(kind).items():
        if name in hidden or not inspect.isfunction(unwrapped(value)):
            continue
        is_written = name == "__init__" and not dataclasses.is_dataclass(kind)
        if name == "__call__" or name[0] != "_" or (is_written and "makes them" not in (inspect.getdoc(value) or "")):
            yield name, value


def unwrapped(value: Any) -> Any:
    """Return the function of a method, a class method, a property or a cached property."""
    return getattr(value, "fget", None) or getattr(value, "__func__", None) or getattr(value, "func", None) or value


def code(thing: Any) -> Any:
    """Return the code of a class or a function."""
    return ast.parse(inspect.cleandoc("\n" + inspect.getsource(thing))).body[0]


def class_signature(kind: type) -> str:
    """Return a class with its fields, their types and defaults; those of what it is derived from come first."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    defaults = {field.name: default_of(field) for field in fields}
    lines: list[str] = []
    bases: list[str] = []
    for cls in reversed([cls for cls in kind.__mro__ if cls.__module__.startswith("gpt2_")]):
        node: ast.ClassDef = code(cls)
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                name = line.target.id
                lines.append(f"    {name}: {type_of(line.annotation)}{defaults.get(name, '')}")
    bases = [name for name in bases if name not in ("NamedTuple", "TypedDict")]
    return "\n".join([f"class {kind.__name__}" + (f"({', '.join(bases)})" if bases else ""), *lines])


def default_of(field: "dataclasses.Field[Any]") -> str:
    """Return ` = value` of a field, or nothing."""
    if field.default_factory is not dataclasses.MISSING:
        return f" = {field.default_factory()!r}"
    return "" if field.default is dataclasses.MISSING else f" = {quoted(repr(field.default))}"


def signature(name: str, node: Function) -> str:
    """Return a function with its parameters, a line each where all of them are longer than a line."""
    shown = list(parameters(node.args))
    returns = type_of(node.returns) if name != "__init__" else "None"
    end = ")" if returns == "None" else f") -> {returns}"
    start = f"{'await ' if isinstance(node, ast.AsyncFunctionDef) else ''}{name}("
    line = f"{start}{', '.join(shown)}{end}"
    return line if len(line) <= WIDTH else "\n".join([start, *(f"    {text}," for text in shown), end])


def parameters(given: ast.arguments) -> Iterator[str]:
    """Yield the parameters of a function as they are written, but for self."""
    defaults = [None] * (len(given.args) - len(given.defaults)) + given.defaults
    for each, default in zip(given.args, defaults, strict=True):
        if each.arg not in ("self", "cls"):
            yield parameter(each, default)
    if given.kwonlyargs:
        yield "*"
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield parameter(each, default)
    if given.kwarg:
        yield f"**{parameter(given.kwarg, None)}"


def parameter(given: ast.arg, default: ast.expr | None) -> str:
    """Return one parameter with its type and default."""
    end = f" = {quoted(ast.unparse(default))}" if default else ""
    return f"{given.arg}: {type_of(given.annotation)}{end}"


def type_of(annotation: ast.expr | None) -> str:
    """Return a type as it is written; one in quotation marks without them."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return quoted(ast.unparse(annotation)) if annotation else "None"


def quoted(text: str) -> str:
    """Return an expression with this project's quotation marks."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', text)


def section(heading: str, shown: str, thing: Any) -> str:
    """Return a heading, the signature and the docstring."""
    top = [re.sub(r"__\w+__", r"`\g<0>`", heading), ""] if heading else []
    return "\n".join([*top, "```python", shown, "```", "", markdown(inspect.getdoc(thing) or ""), ""])


def markdown(docstring: str) -> str:
    """Return a docstring in Markdown: what it says of a parameter is an item of a list, an example is a block."""
    text, _, example = docstring.partition("\n\n>>> ")
    shown = "\n\n".join(filter(None, (paragraph(each) for each in text.split("\n\n"))))
    shown = re.sub(r"<\|\w+\|>|\b__\w+__\b", r"`\g<0>`", shown)
    return f"{shown}\n\n```pycon\n>>> {example}\n```" if example else shown


def paragraph(text: str) -> str:
    """Return a paragraph of a docstring with its items and what is raised apart."""
    lines: list[str] = []
    for part in (part for unit in units(text.split("\n")) for part in parts_of(unit)):
        is_item = NAMED.match(part) is not None
        follows = bool(lines) and is_item and lines[-1].startswith("- ")
        lines += [""] if lines and not follows else []
        named = NAMED.sub(lambda found: f"{code_of(found[1])}: ", part, count=1)
        lines.append(f"- {named.removesuffix(';')}" if is_item else re.sub(";$", ":", part))
    return "\n".join(lines)


def units(lines: list[str]) -> Iterator[str]:
    """Yield lines, joined where one ends only because the next word would not have fitted."""
    unit = lines[0]
    for before, line in itertools.pairwise(lines):
        if len(before) + 1 + len(line.split()[0]) > FULL:
            unit += f" {line}"
        else:
            yield unit
            unit = line
    yield unit


def parts_of(unit: str) -> list[str]:
    """Return the parts of a unit: each beginning with names, or with what is raised, where a sentence begins."""
    named = [found.start() for found in NAMED.finditer(unit) if unit[: found.start()].endswith((". ", "; "))]
    raised = [found.start() for found in re.finditer(r"(?<=\. )Raises ", unit)]
    cuts = sorted({0, len(unit), *named, *raised})
    return [unit[start:end].strip() for start, end in itertools.pairwise(cuts)]


def code_of(names: str) -> str:
    """Return names with a comma between them, each as code."""
    return ", ".join(f"`{name}`" for name in names.split(", "))


if __name__ == "__main__":
    main()
