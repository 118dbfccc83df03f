"""Reads an IR from disk, checks that it is a language model, and returns it with its facts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine.model_file import check_files
from gpt2_text_prediction.problem import Problem

LONGEST_REASON = 300
"""Characters of a message of OpenVINO's."""
FACTS = "omz_gpt2"
"""The section of rt_info that holds our converter's facts."""


@dataclass(frozen=True)
class IR:
    """A language model of one input, token ids [B, L], and one output, logits [B, L, vocab_size].

    Or as the ONNX Model Zoo has them: ids [B, S, L], logits [B, S, L, vocab_size] first among the outputs.
    """

    path: Path
    model: ov.Model
    n_positions: int | None  # None: neither rt_info nor the input's shape, nor a config.json beside it, bounds L
    vocab_size: int
    eos_token_ids: tuple[int, ...] = ()  # none: <|endoftext|> of the vocabulary ends a text
    bos_token_id: int | None = None
    random_weights: bool = False  # nothing was trained


def read_ir(core: ov.Core, path: Path) -> IR:
    """Read a model and check that it is a language model.

    Raises Problem when a file is missing or damaged, or the model is of another kind.
    """
    return as_ir(path, read_model(core, path))


def read_model(core: ov.Core, path: Path) -> ov.Model:
    """Read a model of any kind. Raises Problem when a file is missing or damaged."""
    check_files(path)
    try:
        return core.read_model(path)
    except UnicodeEncodeError:  # OpenVINO before 2026.1
        raise Problem(f"{path}: OpenVINO {ov.__version__} reads no path that is not UTF-8; rename it") from None
    except RuntimeError as error:
        raise Problem(f"{path}: OpenVINO cannot read it as a model: {last_line(error)}") from None


def as_ir(path: Path, model: ov.Model) -> IR:
    """Check that a model is a language model, and return it with its facts. Raises Problem."""
    zoo = len(model.inputs) == 1 and model.input(0).partial_shape.rank == ov.Dimension(3)
    if len(model.inputs) != 1 or (len(model.outputs) != 1 and not zoo):
        raise Problem(
            f"{path}: expected a model with one input and one output, got {len(model.inputs)} and "
            f"{len(model.outputs)}; convert a text prediction model with omz_converter"
        )
    if (task := text_fact(model, "task")) is not None:
        raise Problem(f"{path}: is a model of labels ({task}), which continues no text; run: gpt2_classify -m {path}")
    ids, logits = model.input(0), model.output(0)
    if not _is_language_model(ids, logits):
        letters = "B, S, L" if zoo else "B, L"
        raise Problem(
            f"{path}: expected token ids [{letters}] in and logits [{letters}, vocabulary] out, got "
            f"{ids.element_type.get_type_name()} {ids.partial_shape} and "
            f"{logits.element_type.get_type_name()} {logits.partial_shape}"
        )
    vocab_size = logits.partial_shape[-1].get_length()
    rows = _rows_of_hidden_states(model, vocab_size)
    if rows is not None:
        raise Problem(
            f"{path}: has no LM head: its output is hidden states of {vocab_size} values, not logits of {rows} "
            "tokens; convert the model with its head, such as GPT2LMHeadModel"
        )
    bounds = [ids.partial_shape[-1].get_max_length(), _fact(model, "n_positions")]  # -1: the shape has none
    return IR(
        path=path,
        model=model,
        n_positions=min((bound for bound in bounds if bound and bound > 0), default=None) or positions_beside(path),
        vocab_size=vocab_size,
        eos_token_ids=_known_ids([*_numbers(model, "eos_token_ids"), _fact(model, "eos_token_id")], vocab_size),
        bos_token_id=next(iter(_known_ids([_fact(model, "bos_token_id")], vocab_size)), None),
        random_weights=text_fact(model, "weights") == "random",
    )


class TokenInput(NamedTuple):
    """The token ids that a compiled model takes: [B, L], or as in the ONNX Model Zoo [B, S, L] with S = 1.

    None is a dynamic dimension. The zoo's models run one row at a time, as the zoo's own test data does.
    """

    rows: int | None
    length: int | None
    ones: tuple[int, ...]  # the shape of S: () or (1,)
    dtype: npt.DTypeLike

    @classmethod
    def of(cls, compiled: ov.CompiledModel) -> "TokenInput":
        """Return the input of a model."""
        batch, *sequences, length = compiled.input(0).partial_shape
        return cls(
            batch.get_length() if batch.is_static else 1 if sequences else None,
            length.get_length() if length.is_static else None,
            (1,) * len(sequences),
            compiled.input(0).element_type.to_dtype(),
        )

    def shape(self, rows: int, length: int) -> tuple[int, ...]:
        """Return the shape in which rows of a length are given."""
        return (self.rows or rows, *self.ones, self.length or length)

    def padded(self, rows: Sequence[Sequence[int]] | npt.NDArray[np.int64]) -> npt.NDArray[Any]:  # -> shape(B, L)
        """Return rows of tokens as the model's input, padded on the right with zeros, which the causal mask hides."""
        ids = np.zeros((self.rows or len(rows), self.length or max(map(len, rows))), self.dtype)
        for i, tokens in enumerate(rows):
            ids[i, : len(tokens)] = tokens
        return ids.reshape(self.shape(*ids.shape))


def last_line(error: Exception) -> str:
    """Return the message of an OpenVINO exception, cut to a line, without the lines of C++ source it passed through."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:LONGEST_REASON] if lines else type(error).__name__


def _is_language_model(ids: Any, logits: Any) -> bool:
    shape = ids.partial_shape
    return (
        ids.element_type in (ov.Type.i64, ov.Type.i32)
        and logits.element_type.is_real()
        and shape.rank in (ov.Dimension(2), ov.Dimension(3))
        and all(dimension.get_max_length() != 0 for dimension in shape)  # the CPU plugin dies of it
        and (len(shape) == 2 or shape[1].compatible(ov.Dimension(1)))
        and logits.partial_shape.rank == ov.Dimension(len(shape) + 1)
        and logits.partial_shape[-1].is_static
    )


def _rows_of_hidden_states(model: ov.Model, width: int) -> int | None:
    """Return the rows of the token embedding where the output is as wide as that, and so no logits; else None."""
    shapes = [op.input_value(0).partial_shape for op in model.get_ops() if op.get_type_name() == "Gather"]
    tables = [shape.to_shape() for shape in shapes if shape.is_static and len(shape) == 2]
    if any(rows == width for rows, _ in tables):
        return None
    return max((rows for rows, columns in tables if columns == width), default=None)


def positions_beside(path: Path) -> int | None:
    """Return the positions in the checkpoint's config.json that lies beside a model of another converter, if any."""
    beside = path.with_name("config.json")
    try:
        config = json.loads(beside.read_bytes()) if beside.is_file() else {}
        positions = config.get("max_position_embeddings") or config.get("n_positions")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return positions if type(positions) is int and positions > 0 else None


def text_fact(model: ov.Model, name: str) -> str | None:
    """Return a fact of our section of rt_info; None where there is none."""
    try:
        return str(model.get_rt_info([FACTS, name]).value)
    except RuntimeError:
        return None


def _fact(model: ov.Model, name: str) -> int | None:
    """Return a whole number of our section of rt_info; a foreign model has none, or nonsense of its own."""
    numbers = _numbers(model, name)
    return numbers[0] if len(numbers) == 1 else None


def _known_ids(ids: Sequence[int | None], vocab_size: int) -> tuple[int, ...]:
    return tuple(i for i in ids if i is not None and i < vocab_size)


def _numbers(model: ov.Model, name: str) -> list[int]:
    """Return the whole numbers of a fact; older IRs have one end-of-text token, as `eos_token_id`."""
    words = (text_fact(model, name) or "").split()
    return [int(word) for word in words] if all(word.isdecimal() and len(word) < 10 for word in words) else []
