"""From downloaded files or a user's checkpoint to published IRs: the converter, its routes, and the recipes it finds.

Other packages use the names below, for IRs that they read or write themselves; none of them loads OpenVINO at import.
"""

from omz_model_tools.convert.checkpoint import Checkpoint, CheckpointConverter
from omz_model_tools.convert.ir import SMALL_FILES, ir_bytes, provenance, recipe_section, save_ir
from omz_model_tools.convert.recipes import load_recipe
from omz_model_tools.convert.write_progress import watch_on

__all__ = [
    "SMALL_FILES",
    "Checkpoint",
    "CheckpointConverter",
    "ir_bytes",
    "load_recipe",
    "provenance",
    "recipe_section",
    "save_ir",
    "watch_on",
]
