"""Read a checkpoint in several files (shards), as its index lists them.

The index of transformers: {"weight_map": {name: file}}, with the files beside it.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.tensor import StoredTensor

Tensors = dict[str, StoredTensor]


def read_sharded(index: Path, read_shard: Callable[[Path], Tensors]) -> Tensors:
    """Return the tensors of all shards by name.

    Raises Problem if a shard is missing or damaged, or the index and the shards disagree.
    """
    weight_map = _weight_map(index)
    found: Tensors = {}
    for shard in sorted(set(weight_map.values())):
        path = index.parent / shard
        if not path.is_file():
            raise Problem(f"{path}: {index.name} names this shard, and there is no such file; fetch it again")
        for name, tensor in read_shard(path).items():
            if name in found:
                raise Problem(f"{path}: has {one_line(name)}, which another shard has too")
            if weight_map.get(name) != shard:
                listed = f"lists it in {weight_map[name]}" if name in weight_map else "does not list it"
                raise Problem(f"{path}: has {one_line(name)}, and {index.name} {listed}; fetch both again")
            found[name] = tensor
    for name in sorted(weight_map.keys() - found.keys()):
        raise Problem(f"{index.parent / weight_map[name]}: {index.name} lists {one_line(name)} in it, which it lacks")
    return found


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(s, str) for s in weight_map.values()):
        raise Problem(f'{index}: "weight_map": expected an object of tensors and their files; fetch it again')
    for shard in weight_map.values():
        if not _is_plain_name(shard):
            raise Problem(f'{index}: "weight_map": expected names of files beside it, got {one_line(repr(shard))}')
    return weight_map


def _is_plain_name(name: str) -> bool:
    """Whether a name is that of a file in the same folder, on any system."""
    plain = name == PurePosixPath(name).name == PureWindowsPath(name).name and name not in ("", ".", "..")
    return plain and name.isprintable()
