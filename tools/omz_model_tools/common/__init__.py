"""What every tool needs around its work: problems and their one line, exit codes, reports, locks, publishing by rename.

Other packages use the names below. They are imported when they are first asked for: the console commands must come
to interrupt.ends_at_once before anything during which Ctrl-C would print a traceback.
"""

from importlib import import_module

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from omz_model_tools.common.arguments import given_flags, positive_int, whole_number
    from omz_model_tools.common.guard import guarded, say
    from omz_model_tools.common.interrupt import INTERRUPTED, ends_at_once
    from omz_model_tools.common.lock import exclusive, if_free
    from omz_model_tools.common.parser import Parser
    from omz_model_tools.common.problem import Problem, check_onnx_path, disk_problems, one_line, read_file, utf8_text
    from omz_model_tools.common.publish import PublishedFolder, check_file, locked_folders, publishing
    from omz_model_tools.common.report import Report

__all__ = [
    "INTERRUPTED",
    "Parser",
    "Problem",
    "PublishedFolder",
    "Report",
    "check_file",
    "check_onnx_path",
    "disk_problems",
    "ends_at_once",
    "exclusive",
    "given_flags",
    "guarded",
    "if_free",
    "locked_folders",
    "one_line",
    "positive_int",
    "publishing",
    "read_file",
    "say",
    "utf8_text",
    "whole_number",
]

_HOMES = {
    "INTERRUPTED": "interrupt",
    "Parser": "parser",
    "PublishedFolder": "publish",
    "Problem": "problem",
    "Report": "report",
    "check_file": "publish",
    "check_onnx_path": "problem",
    "disk_problems": "problem",
    "ends_at_once": "interrupt",
    "exclusive": "lock",
    "given_flags": "arguments",
    "guarded": "guard",
    "if_free": "lock",
    "locked_folders": "publish",
    "one_line": "problem",
    "positive_int": "arguments",
    "publishing": "publish",
    "read_file": "problem",
    "say": "guard",
    "utf8_text": "problem",
    "whole_number": "arguments",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
