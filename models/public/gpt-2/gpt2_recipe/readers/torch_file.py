"""Map the tensors of a file that torch.save wrote, by PyTorch's weights-only loader.

Such a file is a pickle, which may contain code: that loader accepts tensors and refuses everything else.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt2_recipe.memory import check_memory
from gpt2_recipe.plain_file import require_plain_file
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.tensor import StoredTensor

if TYPE_CHECKING:
    import torch

ZIP = b"PK\x03\x04"
"""The first bytes of a file of PyTorch 1.6 or later; older files cannot be mapped."""
SAFE_SINCE = (2, 10)
"""Before, the weights-only loader runs code of the file (CVE-2025-32434) or corrupts memory (CVE-2026-24747)."""
NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""The keys under which Lightning, nanoGPT, DeepSpeed and hand-written loops save the state dict."""


def read_torch(path: Path) -> dict[str, StoredTensor]:
    """Map a file that torch.save wrote a state dict into, alone or in a trainer's dictionary.

    Raises Problem if PyTorch or the file is missing, or the file is damaged or has anything but tensors.
    """
    return tensors_of(path, load_torch(path))


def tensors_of(path: Path, loaded: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """Return the tensors of the state dict that lies in a loaded file; `path` is only for error messages."""
    for _ in WRAPPERS:  # one in another; a pickle may as well hold a dictionary that holds itself
        loaded = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)), loaded)
    return {str(name): _stored(path, str(name), value) for name, value in loaded.items()}


def load_torch(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file, its tensors mapped; raises Problem as `read_torch` does."""
    loaded = _load(path)
    if not isinstance(loaded, dict):
        raise Problem(f"{path}: expected a dictionary of tensors, got {type(loaded).__name__}")
    return loaded


def _load(path: Path) -> Any:
    require_plain_file(path)
    try:
        import torch  # noqa: PLC0415 (an extra)
    except ImportError:
        raise Problem(
            f"{path}: is read by PyTorch, which is not installed: pip install 'omz-gpt2[onnx]', "
            "or save the model as model.safetensors"
        ) from None
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_SINCE:
        raise Problem(
            f"{path}: is read by PyTorch 2.10 or later, whose weights-only loader is safe, and this is "
            f"{torch.__version__}: pip install 'torch>=2.10', or save the model as model.safetensors"
        )
    try:
        with path.open("rb") as file:
            mapped = file.read(len(ZIP)) == ZIP
        if not mapped:
            check_memory(path, path.stat().st_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of a pickle's protocol, then refuses it
            return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {error.strerror or one_line(error)}") from None
    except Problem:
        raise
    except pickle.UnpicklingError as error:
        reason = one_line(error).partition(". ")[0]
        raise Problem(
            f"{path}: PyTorch's weights-only loader refuses it, and nothing else reads it here ({reason[:200]}); "
            "fetch it again, or use a model.safetensors"
        ) from None
    except Exception as error:  # for a damaged file, the loader raises almost anything
        raise Problem(f"{path}: is not a complete PyTorch file: {one_line(error)[:200]}; fetch it again") from None


def _stored(path: Path, name: str, value: Any) -> StoredTensor:
    import torch  # noqa: PLC0415

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise Problem(f"{path}: {one_line(name)}: expected a dense tensor, got {type(value).__name__}")
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in NAMES:  # match_weights refuses it if it is a weight
        return StoredTensor(dtype, tuple(value.shape), np.empty(0, np.uint8))
    return StoredTensor(NAMES[dtype], tuple(value.shape), _bytes(path, name, value))


def _bytes(path: Path, name: str, tensor: "torch.Tensor") -> Any:  # [*shape] -> [bytes]
    import torch  # noqa: PLC0415

    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise Problem(f"{path}: {one_line(name)}: its shape needs more values than are stored; fetch the file again")
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
