"""How a TextGenerator is loaded, but for the model and its device; and an engine with what its requests share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from gpt2_text_prediction.argument_types import require_arguments
from gpt2_text_prediction.engine.engine import Engine, ModelSpec, default_back_end, make_engine
from gpt2_text_prediction.engine.scheduler import (
    MAX_NUM_SEQS,
    MAX_NUM_SEQS_PADDED,
    MAX_WAITING_CALLERS,
    PREFILL_CHUNK,
    Scheduler,
)
from gpt2_text_prediction.input_processor import Shared


@dataclass(frozen=True)
class Loading:
    """The options of TextGenerator of the same names. Raises Problem for a value of a wrong type."""

    vocab: str | Path | None = None
    merges: str | Path | None = None
    back_end: Literal["paged", "stateful", "static"] | None = None
    cache_budget: int | None = None
    prompt_lookup: bool | None = None
    max_num_seqs: int | None = None
    max_waiting_callers: int = MAX_WAITING_CALLERS
    prefill_chunk: int = PREFILL_CHUNK
    use_generation_config: bool = True

    def __post_init__(self) -> None:
        require_arguments(**vars(self))

    def open(self, spec: ModelSpec) -> "Opened":
        """Compile a model, whose spec must not be used again. Raises Problem as make_engine does."""
        engine = make_engine(spec, self.back_end or default_back_end(spec.device), self.cache_budget)
        by_default = MAX_NUM_SEQS if engine.back_end.name == "paged" else MAX_NUM_SEQS_PADDED
        num_seqs = self.max_num_seqs or by_default
        return Opened(engine, Scheduler(engine, num_seqs, self.max_waiting_callers, self.prefill_chunk), Shared())


class Opened(NamedTuple):
    """An engine with its scheduler, and what its requests share."""

    engine: Engine
    scheduler: Scheduler
    shared: Shared
