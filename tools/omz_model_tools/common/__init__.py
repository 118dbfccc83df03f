"""What every tool needs around its work: problems and their one line, exit codes, reports, locks, publishing by rename.

Other packages use the names below; they load nothing but the standard library.
"""

from omz_model_tools.common.arguments import positive_int
from omz_model_tools.common.guard import guarded
from omz_model_tools.common.interrupt import INTERRUPTED, ends_at_once
from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.problem import Problem, disk_problems, one_line
from omz_model_tools.common.publish import FolderPlace, publish_file
from omz_model_tools.common.report import Report

__all__ = [
    "INTERRUPTED",
    "FolderPlace",
    "Problem",
    "Report",
    "disk_problems",
    "ends_at_once",
    "exclusive",
    "guarded",
    "one_line",
    "positive_int",
    "publish_file",
]
