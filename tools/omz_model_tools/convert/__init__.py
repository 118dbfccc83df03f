"""From downloaded files or a user's checkpoint to published IRs: the converter, its routes, and the recipes it finds.

Other packages use the names below, for IRs that they read or write themselves; none of them loads OpenVINO at import.
"""

from omz_model_tools.convert.ir import SMALL_FILES, ir_bytes, provenance, recipe_section, save_ir

__all__ = ["SMALL_FILES", "ir_bytes", "provenance", "recipe_section", "save_ir"]
