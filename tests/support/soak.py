"""How many random schedules of faults are wanted, were tried, and broke their promise."""

from dataclasses import dataclass


@dataclass
class FaultSchedules:
    wanted: int
    tried: int = 0
    violations: int = 0

    def begin(self) -> int:
        """Count one more; returns its number."""
        self.tried += 1
        return self.tried

    def text(self) -> str:
        return f"fault schedules: {self.tried} tried, {self.violations} violations"
