"""Token ids in, logits out: the engine, its KV caches, and the scheduler that shares it between callers.

The names below are imported when they are first used: most of them need OpenVINO.
"""

from gpt2_text_prediction.lazy_names import lazy_names

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from gpt2_text_prediction.engine.backends.kv_cache import NoCachePossible, with_kv_cache
    from gpt2_text_prediction.engine.checksums import checksum, model_checksums, user_cache
    from gpt2_text_prediction.engine.configuration import (
        PRECISION_HINTS,
        Arithmetic,
        DeviceConfig,
        has_bf16,
        is_short,
        weights_of,
    )
    from gpt2_text_prediction.engine.engine import (
        Engine,
        compile_model,
        default_back_end,
        device_property,
        load_engine,
        make_engine,
        read_spec,
    )
    from gpt2_text_prediction.engine.ir import (
        IR,
        TokenInput,
        as_ir,
        last_line,
        read_ir,
        read_model,
    )
    from gpt2_text_prediction.engine.model_file import MODEL_SUFFIXES, check_files, model_path
    from gpt2_text_prediction.engine.prefix_cache import PrefixCache
    from gpt2_text_prediction.engine.scheduler import MAX_DECODE_TOKENS
    from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput

__all__ = [
    "IR",
    "MAX_DECODE_TOKENS",
    "MODEL_SUFFIXES",
    "PRECISION_HINTS",
    "Arithmetic",
    "DeviceConfig",
    "Engine",
    "NoCachePossible",
    "PrefixCache",
    "SequenceCache",
    "StepInput",
    "TokenInput",
    "as_ir",
    "check_files",
    "checksum",
    "compile_model",
    "default_back_end",
    "device_property",
    "has_bf16",
    "is_short",
    "last_line",
    "load_engine",
    "make_engine",
    "model_checksums",
    "model_path",
    "read_ir",
    "read_model",
    "read_spec",
    "user_cache",
    "weights_of",
    "with_kv_cache",
]

__getattr__ = lazy_names(
    __name__,
    {
        "NoCachePossible": "backends.kv_cache",
        "with_kv_cache": "backends.kv_cache",
        "checksum": "checksums",
        "model_checksums": "checksums",
        "user_cache": "checksums",
        "PRECISION_HINTS": "configuration",
        "Arithmetic": "configuration",
        "DeviceConfig": "configuration",
        "has_bf16": "configuration",
        "is_short": "configuration",
        "weights_of": "configuration",
        "Engine": "engine",
        "compile_model": "engine",
        "default_back_end": "engine",
        "device_property": "engine",
        "load_engine": "engine",
        "make_engine": "engine",
        "read_spec": "engine",
        "IR": "ir",
        "TokenInput": "ir",
        "as_ir": "ir",
        "last_line": "ir",
        "read_ir": "ir",
        "read_model": "ir",
        "MODEL_SUFFIXES": "model_file",
        "check_files": "model_file",
        "model_path": "model_file",
        "PrefixCache": "prefix_cache",
        "MAX_DECODE_TOKENS": "scheduler",
        "SequenceCache": "sequence",
        "StepInput": "sequence",
    },
)
