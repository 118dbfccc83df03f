"""The engine: token ids in, logits out. It knows no text and draws no token.

Its one primitive is `step`: any rows, each a cache with new tokens behind it. What a back end cannot find in its
memory it computes again from the tokens, so that every order of rows gives the same logits.
Letters: W places of a row whose logits are wanted, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, Literal, Protocol

import openvino as ov

from gpt2_text_prediction.engine.backends.kv_cache import NoCachePossible, with_kv_cache, with_wanted_positions
from gpt2_text_prediction.engine.backends.paged import Paged
from gpt2_text_prediction.engine.backends.paged_attention import NoPagedAttention, with_paged_attention
from gpt2_text_prediction.engine.backends.recompute import Recompute
from gpt2_text_prediction.engine.backends.stateful import Stateful
from gpt2_text_prediction.engine.huge_pages import HugePages, give_back
from gpt2_text_prediction.engine.ir import IR, last_line, read_ir
from gpt2_text_prediction.engine.sequence import Logits, Row
from gpt2_text_prediction.problem import Problem

PACKED = 2
"""After so many steps, a prompt's and a token's, the device has weights of its own and hardly reads the file again."""
SETTLED = 128
"""After so many steps the weights are put into huge pages: it takes about as long as so many steps gain by it."""


class BackEnd(Protocol):
    """What runs a checked step; it changes no cache."""

    name: str

    def step(self, rows: Sequence[Row]) -> tuple[list[Logits], Sequence[Any]]:
        """Return each row's wanted logits and its new lease, in the rows' order."""

    def fits(self, lengths: Sequence[int]) -> bool:
        """Tell whether there is memory for rows of so many tokens at once, nothing shared."""

    def forget(self) -> None:
        """Know nothing of the tokens of caches that are gone."""


class Engine:
    """A compiled model and the one thing to do with it."""

    def __init__(
        self, order: "Order", back_end: BackEnd, compiled: ov.CompiledModel, fallback: str | None = None
    ) -> None:
        """Put the parts together; fallback: one line, why this is not the back end that was asked for."""
        self.vocab_size = order.ir.vocab_size
        self.eos_token_id = order.ir.eos_token_id
        self.n_positions = order.n_positions
        self.path = order.ir.path
        self.back_end = back_end
        self.compiled = compiled
        self.fallback = fallback
        self._memory = order.memory
        self._steps = 0

    def step(self, rows: Sequence[Row]) -> list[Logits]:  # -> for each row [W, V]
        """Append each row's tokens to its cache and return the logits at its wanted positions.

        Raises ValueError for a row that no model could run, the caller's mistake, and Problem for a model that
        turns out not to be one of language, or that its device cannot run.
        """
        if not rows:
            return []
        for row in rows:
            self._check(row)
        if len({id(row.cache) for row in rows}) != len(rows):
            raise ValueError("two rows of one step share a cache: fork it")
        try:
            logits, leases = self.back_end.step(rows)
        except RuntimeError as error:
            raise Problem(f"{self.path}: cannot be run: {last_line(error)}") from None
        for row, lease in zip(rows, leases, strict=True):
            row.cache.tokens[row.kept() :] = row.tokens  # an interrupt here leaves a lease that holds no more
            row.cache.lease = lease
        self._steps += 1
        if self._steps == PACKED:
            give_back(self.path.with_suffix(".bin"))
        if self._steps == SETTLED:
            self._memory.collapse()
        return logits

    def fits(self, lengths: Sequence[int]) -> bool:
        """Tell whether there is memory for rows of so many tokens at once; without a budget there always is."""
        return self.back_end.fits(lengths)

    def forget(self) -> None:
        """Have nothing at hand but what caches hold: a beginning that was seen before is computed again."""
        self.back_end.forget()

    def property_of_device(self, name: str) -> str | None:
        """Return a property as the device reports it after compilation, or None where it has none of the name."""
        return device_property(self.compiled, name)

    def _check(self, row: Row) -> None:
        past = row.kept()
        try:
            ids = [index(token) for token in row.tokens]
        except TypeError:
            ids = []
        count = len(ids)
        if not ids or bool in map(type, row.tokens):
            raise ValueError(f"expected at least one token id, and nothing else, got {row.tokens!r}")
        least, most = min(ids), max(ids)
        # The graph's Gather does not check: an id or a position out of range would give an answer all the same.
        if least < 0 or most >= self.vocab_size:
            raise ValueError(f"expected token ids below {self.vocab_size}, got {least} .. {most}")
        if not 0 <= past <= len(row.cache.tokens):
            raise ValueError(f"expected past of 0 .. {len(row.cache.tokens)} tokens, got {past}")
        if past + count > self.n_positions:
            raise ValueError(f"expected at most {self.n_positions} positions, got {past} + {count}")
        if not all(-count <= place < count for place in row.wanted):
            raise ValueError(f"expected wanted places within {count} new tokens, got {list(row.wanted)}")


def device_property(compiled: ov.CompiledModel, name: str) -> str | None:
    """Return a property as the device reports it after compilation, or None where it has none of the name."""
    try:
        value = compiled.get_property(name)
    except RuntimeError:
        return None
    return value.get_type_name() if isinstance(value, ov.Type) else str(value)


def default_back_end(device: str) -> Literal["paged", "stateful"]:
    """Return the back end that runs best on a device."""
    return "paged" if device.startswith("CPU") else "stateful"


@dataclass(frozen=True)
class Order:
    """What an engine is to be made of; memory: that of the process before."""

    core: ov.Core
    ir: IR
    device: str
    config: dict[str, Any]
    n_positions: int
    memory: HugePages

    def again(self) -> ov.Model:
        """Return the model as it was: it may have been changed by half."""
        return read_ir(self.core, self.ir.path).model


def load_engine(
    path: Path,
    device: str = "CPU",
    config: dict[str, Any] | None = None,
    max_seq_len: int | None = None,
    back_end: Literal["paged", "stateful", "static"] = "stateful",
    cache_budget: int | None = None,
) -> Engine:
    """Read, prepare and compile a model.

    max_seq_len lowers the model's own number of positions, and stands for it where the model does not tell.
    back_end: "paged" keeps the cache in blocks that rows share, of cache_budget bytes; where openvino, the device or
    the model does not run it, the engine is another and its `fallback` says so. "static" compiles one row of all
    positions and no cache.
    Raises Problem for files, a device, a configuration, a length or a budget that cannot be used.
    """
    if cache_budget is not None and back_end != "paged":
        raise Problem(f"cache_budget: the {back_end} back end keeps none: ask for paged")
    core, memory = ov.Core(), HugePages()
    ir = read_ir(core, path)
    order = Order(core, ir, device, config or {}, _positions(ir, max_seq_len), memory)
    if back_end == "static":
        return _static(order)
    if back_end == "stateful":
        return _stateful(order, ir.model)
    try:
        return _paged(order, cache_budget)
    except (NoPagedAttention, NoCachePossible) as reason:
        unkept = "" if cache_budget is None else " or its budget"
        return _stateful(order, order.again(), f"{path}: runs without a paged cache{unkept}: {reason}")


def _paged(order: Order, cache_budget: int | None) -> Engine:
    if not order.device.startswith("CPU"):
        raise NoPagedAttention(f"it is for the CPU, and the device is {order.device}")
    model = with_kv_cache(order.ir.model)
    with_wanted_positions(model)
    with_paged_attention(model)
    try:
        compiled = order.core.compile_model(model, order.device, order.config)
        return Engine(order, Paged(compiled, order.n_positions, cache_budget), compiled)
    except RuntimeError as error:  # where it is the user's mistake, the other back end will say so
        raise NoPagedAttention(last_line(error)) from None


def _static(order: Order) -> Engine:
    ir = order.ir
    sequences = len(ir.model.input(0).get_partial_shape()) - 2
    try:
        ir.model.reshape([1] * (1 + sequences) + [order.n_positions])
    except RuntimeError as error:
        raise Problem(f"{ir.path}: cannot have the static shape of {order.n_positions}: {last_line(error)}") from None
    compiled = _compile(order, ir.model)
    return Engine(order, Recompute(compiled), compiled)


def _stateful(order: Order, model: ov.Model, fallback: str | None = None) -> Engine:
    try:
        model = with_kv_cache(model)
        with_wanted_positions(model)
        has_cache = True
    except NoCachePossible:
        model, has_cache = order.again(), False
    compiled = _compile(order, model)
    try:
        back_end: BackEnd = Stateful(compiled, order.n_positions) if has_cache else Recompute(compiled)
    except RuntimeError as error:
        raise Problem(f"{order.ir.path}: cannot be run on {order.device}: {last_line(error)}") from None
    return Engine(order, back_end, compiled, fallback)


def _positions(ir: IR, max_seq_len: int | None) -> int:
    most = ir.n_positions or max_seq_len
    if most is None:
        raise Problem(
            f"{ir.path}: does not tell its number of positions: give it as --max_seq_len, or max_seq_len in Python"
        )
    if max_seq_len is not None and not 2 <= max_seq_len <= most:
        raise Problem(f"--max_seq_len: expected 2 .. {most}, the positions of {ir.path}, got {max_seq_len}")
    return max_seq_len or most


def _compile(order: Order, model: ov.Model) -> ov.CompiledModel:
    return compile_model(order.core, model, order.ir.path, order.device, order.config)


def compile_model(core: ov.Core, model: ov.Model, path: Path, device: str, config: dict[str, Any]) -> ov.CompiledModel:
    """Compile a model that was read from `path`; raise Problem for a device or a configuration that there is not."""
    try:
        return core.compile_model(model, device, config)
    except RuntimeError as error:
        available = core.available_devices
        if device.partition(":")[0].partition(".")[0] not in {*available, "AUTO", "BATCH", "HETERO", "MULTI"}:
            raise Problem(f"-d {device}: there is no such device; available: {', '.join(available)}") from None
        reason = f"{last_line(error)}; available devices: {', '.join(available)}"
        raise Problem(f"{path}: cannot be compiled for {device}: {reason}") from None
    except UnicodeEncodeError:
        raise Problem(f"-d {device!r}: there is no such device") from None
