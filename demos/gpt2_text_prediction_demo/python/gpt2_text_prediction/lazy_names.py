"""Public names of a package that are imported when they are first used (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's __getattr__.

    modules: of each public name, the module of the package that has it, with `:` and its name there if that differs.
    """

    def get(name: str) -> object:
        if name in modules:
            module, _, name_there = modules[name].partition(":")
            return getattr(import_module(f"{package}.{module}"), name_there or name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
