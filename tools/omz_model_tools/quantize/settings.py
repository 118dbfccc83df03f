"""How weights are compressed: INT8, or INT4 with its settings, checked."""

from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.problem import Problem

INT8 = "INT8 symmetric, whole channels"
EACH_CHANNEL = -1
"""The group size for one scale per channel."""


@dataclass(frozen=True)
class Int4Settings:
    """How the weights of an INT4 IR are compressed; embeddings and head are INT8 unless `all_layers`."""

    group_size: int = 64  # weights of a channel with a common scale, or EACH_CHANNEL
    ratio: float = 1.0  # fraction of the inner layers compressed to INT4; the others become INT8
    all_layers: bool = False
    calibration_text: Path | None = None
    awq: bool = False
    scale_estimation: bool = False

    def __post_init__(self) -> None:
        if self.group_size != EACH_CHANNEL and self.group_size < 2:
            raise Problem(f"--group_size: expected a number from 2, or -1 for whole channels, got {self.group_size}")
        if not 0 < self.ratio <= 1:  # NNCF reads 0 as 1
            raise Problem(f"--ratio: expected a number above 0 and at most 1, got {self.ratio}")
        for flag, given in (("--awq", self.awq), ("--scale_estimation", self.scale_estimation)):
            if given and self.calibration_text is None:
                raise Problem(f"{flag}: expected a text to calibrate with; give --calibration_text FILE")
        if self.calibration_text is not None and self.ratio == 1 and not self.awq and not self.scale_estimation:
            raise Problem(
                "--calibration_text: changes nothing alone; give --awq, --scale_estimation or a --ratio below 1"
            )

    def text(self) -> str:
        """Describe the settings, for the report and for the IR's rt_info."""
        group = "whole channels" if self.group_size == EACH_CHANNEL else f"groups of {self.group_size}"
        means = [name for name, given in (("AWQ", self.awq), ("scale estimation", self.scale_estimation)) if given]
        scope = "all layers" if self.all_layers else "embeddings and head INT8"
        chosen = "" if self.calibration_text is None else " chosen on a text"
        ratio = [] if self.ratio == 1 else [f"ratio {self.ratio:g}{chosen}"]
        return ", ".join(["INT4 asymmetric", group, scope, *ratio, *means])
