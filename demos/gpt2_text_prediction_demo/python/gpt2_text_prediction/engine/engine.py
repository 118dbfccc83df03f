"""The engine: token ids in, logits out.

Its one primitive is `step`: any sequences, each a cache with new tokens after it. What a back end does not have in
its memory it computes again from the tokens, so that every order of sequences gives the same logits.
Letters: W positions of a sequence whose logits are returned, V vocabulary.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from threading import Thread, current_thread
from typing import Any, Literal, Protocol

import openvino as ov

from gpt2_text_prediction.engine.backends.kv_cache import (
    NoCachePossible,
    can_have_kv_cache,
    with_kv_cache,
    with_logits_indices,
)
from gpt2_text_prediction.engine.backends.paged import Paged
from gpt2_text_prediction.engine.backends.paged_attention import NoPagedAttention, with_paged_attention
from gpt2_text_prediction.engine.backends.recompute import Recompute
from gpt2_text_prediction.engine.backends.self_test import agrees_with_its_cache
from gpt2_text_prediction.engine.backends.stateful import Stateful
from gpt2_text_prediction.engine.configuration import (
    ARITHMETIC,
    CACHE,
    GROUP,
    OF_OTHERS,
    DeviceConfig,
    Weights,
    weights_of,
    with_own_cache_dir,
)
from gpt2_text_prediction.engine.huge_pages import HugePages, drop_mapped_pages
from gpt2_text_prediction.engine.ir import IR, last_line, read_ir
from gpt2_text_prediction.engine.sequence import CacheUsage, Logits, StepInput
from gpt2_text_prediction.engine.thread_end import wait_for_end
from gpt2_text_prediction.problem import Problem

STEPS_UNTIL_PACKED = 2
"""Steps (one prefill, one decode) after which oneDNN has packed its own copy of the weights, so that the pages of the
mapped file can be dropped."""
STEPS_UNTIL_HUGE_PAGES = 128
"""Steps after which moving the weights into huge pages pays for itself."""
OF_OPENVINO = ("CACHE_DIR", "CACHE_MODE", "DEVICE_PROPERTIES", "ENABLE_MMAP")
"""Properties that OpenVINO takes itself, whatever the device."""
RECENT_THREADS = 16
"""Threads that may not have ended yet; earlier ones have."""


class BackEnd(Protocol):
    """Executes a validated step; it does not modify any SequenceCache."""

    name: str

    def step(self, inputs: Sequence[StepInput]) -> tuple[list[Logits], Sequence[Any]]:
        """Return each sequence's logits and the new location of its cache, in the order of the inputs."""

    def fits(self, lengths: Sequence[int]) -> bool:
        """Return whether there is memory for sequences of these lengths at once, nothing shared."""

    def reset_prefix_cache(self) -> None:
        """Drop all keys and values that no sequence's cache holds."""

    def usage(self) -> CacheUsage:
        """Return how much of its cache is used; may be called by any thread."""


class Engine:
    """A compiled model with its back end.

    properties: those of the device that its logits depend on, by OpenVINO's names, as the device reports them.
    """

    def __init__(
        self, spec: "ModelSpec", back_end: BackEnd, compiled: ov.CompiledModel, fallback: str | None = None
    ) -> None:
        """Put the parts together; fallback: one line, why this is not the back end that was asked for."""
        self.vocab_size = spec.ir.vocab_size
        self.eos_token_ids = spec.ir.eos_token_ids
        self.bos_token_id = spec.ir.bos_token_id
        self.n_positions = spec.n_positions
        self.path = spec.ir.path
        self.back_end = back_end
        self.compiled = compiled
        self.fallback = fallback
        reported = {name: device_property(compiled, name) for name in _in_force(spec, back_end)}
        self.properties = {name: value for name, value in reported.items() if value is not None}
        self._huge_pages = spec.huge_pages
        self._steps = 0
        self._threads: deque[Thread] = deque(maxlen=RECENT_THREADS)  # the last that have run steps

    def __del__(self, wait: Callable[[Iterable[Thread]], None] = wait_for_end) -> None:  # bound: at exit globals go
        # Before the compiled model and its requests are released, right after this.
        wait(getattr(self, "_threads", ()))

    def step(self, inputs: Sequence[StepInput]) -> list[Logits]:  # -> for each sequence [W, V]
        """Append each sequence's tokens to its cache and return the logits at its logits_indices.

        Raises ValueError for an input that no model could run, the caller's mistake, and Problem for a model that
        turns out not to be a language model, or that its device cannot run.
        """
        if not inputs:
            return []
        if current_thread() not in self._threads:
            self._threads.append(current_thread())
        for sequence in inputs:
            self._check(sequence)
        if len({id(sequence.cache) for sequence in inputs}) != len(inputs):
            raise ValueError("two sequences of one step share a cache: fork it")
        try:
            logits, locations = self.back_end.step(inputs)
        except RuntimeError as error:
            raise Problem(f"{self.path}: cannot be run: {last_line(error)}") from None
        for sequence, location in zip(inputs, locations, strict=True):
            # Tokens first: an interrupt in between leaves a location that is out of date, and so is computed again.
            sequence.cache.tokens[sequence.past_length() :] = sequence.tokens
            sequence.cache.location = location
        self._steps += 1
        if self._steps == STEPS_UNTIL_PACKED:
            drop_mapped_pages(self.path.with_suffix(".bin"))
        if self._steps == STEPS_UNTIL_HUGE_PAGES:
            self._huge_pages.collapse()
        return logits

    def fits(self, lengths: Sequence[int]) -> bool:
        """Return whether there is memory for sequences of these lengths at once; always with the stateful one."""
        return self.back_end.fits(lengths)

    def reset_prefix_cache(self) -> None:
        """Drop every cached block that no sequence's cache holds; the sequences kept by PrefixCache keep theirs."""
        self.back_end.reset_prefix_cache()

    def usage(self) -> CacheUsage:
        """Return how much of the cache is used; may be called by any thread."""
        return self.back_end.usage()

    def property_of_device(self, name: str) -> str | None:
        """Return a property as the device reports it after compilation, or None where it has none of the name."""
        return device_property(self.compiled, name)

    def _check(self, sequence: StepInput) -> None:
        past = sequence.past_length()
        try:
            ids = [index(token) for token in sequence.tokens]
        except TypeError:
            ids = []
        count = len(ids)
        if not ids or bool in map(type, sequence.tokens):
            raise ValueError(f"expected at least one token id, and nothing else, got {sequence.tokens!r}")
        least, most = min(ids), max(ids)
        # The graph's Gather does not check: an id or a position out of range would give an answer all the same.
        if least < 0 or most >= self.vocab_size:
            raise ValueError(f"expected token ids below {self.vocab_size}, got {least} .. {most}")
        if not 0 <= past <= len(sequence.cache.tokens):
            raise ValueError(f"expected num_computed_tokens of 0 .. {len(sequence.cache.tokens)}, got {past}")
        if past + count > self.n_positions:
            raise ValueError(f"expected at most {self.n_positions} positions, got {past} + {count}")
        if not all(-count <= i < count for i in sequence.logits_indices):
            raise ValueError(f"expected logits_indices within {count} tokens, got {list(sequence.logits_indices)}")


def _in_force(spec: "ModelSpec", back_end: BackEnd) -> list[str]:
    """Return the properties that logits depend on: that of the cache where there is one, that of quantized weights."""
    in_force = {CACHE: back_end.name != "recompute", GROUP: spec.weights.is_quantized}
    return [name for name in ARITHMETIC if in_force.get(name, True)]


def device_property(compiled: ov.CompiledModel, name: str) -> str | None:
    """Return a property as the device reports it after compilation, or None where it has none of the name."""
    try:
        value = compiled.get_property(name)
    except RuntimeError:
        value = _property_of_part(compiled, name)
    if value is None:
        return None
    return value.get_type_name() if isinstance(value, ov.Type) else str(value)


def _property_of_part(compiled: ov.CompiledModel, name: str) -> Any:
    """Return a property of the first device behind AUTO, MULTI or HETERO, or None where there is none."""
    try:
        first = compiled.get_property("EXECUTION_DEVICES")[0]
        return compiled.get_property("DEVICE_PROPERTIES")[first].get(name)
    except (RuntimeError, LookupError, TypeError):
        return None


def default_back_end(device: str) -> Literal["paged", "stateful"]:
    """Return the back end that runs best on a device."""
    return "paged" if device.startswith("CPU") else "stateful"


@dataclass(frozen=True)
class ModelSpec:
    """What an engine is made of.

    asked: the device, and what the user asks of it. config: its properties. has_cache: whether the graph can be given
    a key/value cache. huge_pages: created before reading, so that it knows what memory is the model's.
    """

    core: ov.Core
    ir: IR
    asked: DeviceConfig
    config: dict[str, Any]
    n_positions: int
    weights: Weights
    has_cache: bool
    huge_pages: HugePages

    @property
    def device(self) -> str:
        """The device's name."""
        return self.asked.device

    def read_again(self) -> ov.Model:
        """Return the model as it is on disk: an attempt that failed may have changed the one in memory."""
        return read_ir(self.core, self.ir.path).model


def load_engine(
    path: Path,
    device: str = "CPU",
    config: dict[str, Any] | None = None,
    max_seq_len: int | None = None,
    back_end: Literal["paged", "stateful", "static"] = "stateful",
    cache_budget: int | None = None,
) -> Engine:
    """Read, prepare and compile a model with these properties alone: read_spec and make_engine in one."""
    alone = DeviceConfig(device, "device", properties=config or {})
    return make_engine(read_spec(path, alone, max_seq_len), back_end, cache_budget)


def read_spec(path: Path, config: DeviceConfig, max_seq_len: int | None = None) -> ModelSpec:
    """Read a model, check it, and choose the properties of its device.

    max_seq_len lowers the model's own number of positions, or gives it where the model has none.
    Raises Problem for files or a length that cannot be used.
    """
    core, huge_pages = ov.Core(), HugePages()
    ir = read_ir(core, path)
    weights, has_cache = weights_of(ir.model), can_have_kv_cache(ir.model)
    properties = with_own_cache_dir(config.device, config.resolved(core, weights))
    return ModelSpec(core, ir, config, properties, _positions(ir, max_seq_len), weights, has_cache, huge_pages)


def make_engine(
    spec: ModelSpec, back_end: Literal["paged", "stateful", "static"], cache_budget: int | None = None
) -> Engine:
    """Prepare and compile a model, whose spec must not be used again.

    back_end: "paged" keeps the cache in blocks that sequences share, of cache_budget bytes; where openvino, the device
    or the model cannot run it, the engine gets another back end and its `fallback` says why. "static" compiles one
    sequence of all positions, without a cache.
    Raises Problem for a device, a configuration or a budget that cannot be used.
    """
    if cache_budget is not None and back_end != "paged":
        raise Problem(f"cache_budget: the {back_end} back end has none: ask for paged")
    if back_end == "static":
        return _static(spec)
    if back_end == "stateful":
        return _stateful(spec, spec.ir.model)
    try:
        return _paged(spec, cache_budget)
    except (NoPagedAttention, NoCachePossible) as reason:
        ignored = "" if cache_budget is None else " (cache_budget is ignored)"
        return _stateful(spec, spec.read_again(), f"{spec.ir.path}: runs without a paged cache{ignored}: {reason}")


def _paged(spec: ModelSpec, cache_budget: int | None) -> Engine:
    if not spec.device.startswith("CPU"):
        raise NoPagedAttention(f"it needs a CPU, and the device is {spec.device}")
    if spec.config.get("CACHE_DIR"):
        raise NoPagedAttention("OpenVINO cannot load a compiled model with one from CACHE_DIR")
    model = with_kv_cache(spec.ir.model)
    with_logits_indices(model)
    with_paged_attention(model)
    try:
        compiled = spec.core.compile_model(model, spec.device, spec.config)
        return Engine(spec, Paged(compiled, spec.n_positions, cache_budget), compiled)
    except RuntimeError as error:  # a user's mistake fails in the other back end too, which reports it
        raise NoPagedAttention(last_line(error)) from None


def _static(spec: ModelSpec) -> Engine:
    ir = spec.ir
    sequences = len(ir.model.input(0).get_partial_shape()) - 2
    try:
        ir.model.reshape([1] * (1 + sequences) + [spec.n_positions])
    except RuntimeError as error:
        raise Problem(f"{ir.path}: cannot have the static shape of {spec.n_positions}: {last_line(error)}") from None
    return _recomputing(spec, ir.model)


def _stateful(spec: ModelSpec, model: ov.Model, fallback: str | None = None) -> Engine:
    try:
        model = with_kv_cache(model)
        with_logits_indices(model)
    except NoCachePossible as reason:
        return _without_cache(spec, f"cannot be given a key/value cache ({reason})")
    compiled = _compile(spec, model)
    try:
        back_end = Stateful(compiled, spec.n_positions)
        is_right = agrees_with_its_cache(back_end.step, spec.n_positions, spec.ir.vocab_size)
    except RuntimeError as error:
        raise _cannot_be_run(spec, error) from None
    if not is_right:
        return _without_cache(spec, f"answers differently with a key/value cache on {spec.device}")
    return Engine(spec, back_end, compiled, fallback)


def _without_cache(spec: ModelSpec, reason: str) -> Engine:
    fallback = f"{spec.ir.path}: {reason}: each token computes the whole text again"
    return _recomputing(spec, spec.read_again(), fallback)


def _recomputing(spec: ModelSpec, model: ov.Model, fallback: str | None = None) -> Engine:
    compiled = _compile(spec, model)
    try:
        back_end = Recompute(compiled)
    except RuntimeError as error:
        raise _cannot_be_run(spec, error) from None
    return Engine(spec, back_end, compiled, fallback)


def _cannot_be_run(spec: ModelSpec, error: RuntimeError) -> Problem:
    return Problem(f"{spec.ir.path}: cannot be run on {spec.device}: {last_line(error)}")


def _positions(ir: IR, max_seq_len: int | None) -> int:
    if ir.n_positions == 1:
        raise Problem(f"{ir.path}: has one position; expected at least 2, for a token and the one after it")
    most = ir.n_positions or max_seq_len
    if most is None:
        raise Problem(
            f"{ir.path}: does not say how many positions it has, nor does a config.json beside it: give max_seq_len"
        )
    if max_seq_len is not None and not 2 <= max_seq_len <= most:
        raise Problem(f"max_seq_len: expected 2 .. {most}, the positions of {ir.path}, got {max_seq_len}")
    return max_seq_len or most


def _compile(spec: ModelSpec, model: ov.Model) -> ov.CompiledModel:
    return compile_model(spec.core, model, spec.ir.path, spec.device, spec.config)


def compile_model(core: ov.Core, model: ov.Model, path: Path, device: str, config: dict[str, Any]) -> ov.CompiledModel:
    """Compile a model that was read from `path`; raise Problem for a device or a configuration that there is not."""
    if device.partition(":")[0] in OF_OTHERS:  # they take properties that neither they nor the others know
        _require_known_properties(core, device, config)
    try:
        return core.compile_model(model, device, config)
    except RuntimeError as error:
        if "Unsupported property" in str(error):
            _require_known_properties(core, device, config)
        available = core.available_devices
        if device.partition(":")[0].partition(".")[0] not in {*available, "AUTO", "BATCH", "HETERO", "MULTI"}:
            raise Problem(f"device {device}: there is no such device; available: {', '.join(available)}") from None
        reason = f"{last_line(error)}; available devices: {', '.join(available)}"
        raise Problem(f"{path}: cannot be compiled for {device}: {reason}") from None
    except UnicodeEncodeError:
        raise Problem(f"device {device!r}: there is no such device") from None


def _require_known_properties(core: ov.Core, device: str, config: dict[str, Any]) -> None:
    """Raise Problem for a property that neither the device has, nor the CPU behind it, nor OpenVINO itself."""
    name = device.partition(":")[0].partition(".")[0]
    known: set[str] = set(OF_OPENVINO)
    for part in {name, "CPU"} if name in OF_OTHERS else {name}:
        found = core.get_property(part, "SUPPORTED_PROPERTIES")
        known.update(key for key, access in found.items() if access == "RW")
    if unknown := sorted(config.keys() - known):
        raise Problem(f"config: {device} has no property {unknown[0]}; known: {', '.join(sorted(known))}")
