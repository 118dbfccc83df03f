"""Parse YAML into plain values, strictly and in bounded time.

Aliases and merge keys are refused: they let a short text describe a huge or an endless value.
"""

import reprlib
from typing import Any

import yaml

from omz_model_tools.common.problem import Problem, one_line, utf8_text

MOST_BYTES = 1 << 18  # the longest of Open Model Zoo's 264 descriptors has 20,912


class Mapping(dict[Any, Any]):
    """A mapping with a list of the keys that the text repeats."""

    repeated: tuple[Any, ...] = ()


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None,
                None,
                f"expected a value, got the alias *{event.anchor}; write the value out",
                event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # any: the date 2001-99-99, !!bool xx, !!int '', !!timestamp soon
            kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
            problem = f"expected a value of the type {kind}, got {reprlib.repr(node.value)}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def construct_strict_mapping(self, node: yaml.MappingNode) -> Mapping:
        found = Mapping()
        repeated = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "expected a plain key", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in found:
                repeated.append(key)
            found[key] = self.construct_object(value_node, deep=True)
        found.repeated = tuple(repeated)
        return found


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _StrictLoader.construct_strict_mapping)


def parse(raw: bytes, where: str) -> Any:
    """Parse the one document in `raw`: Mapping, list, str, int, float, bool, None, or another type of YAML's."""
    if len(raw) > MOST_BYTES:
        raise Problem(f"{where}: expected at most {MOST_BYTES} bytes, got more")
    text = utf8_text(raw, where)
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Problem(f"{where}: {line}not valid YAML: {one_line(error.problem)}") from error
    except RecursionError as error:
        raise Problem(f"{where}: expected a descriptor, got YAML nested too deeply") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the character "\U00110000"
        raise Problem(f"{where}: not valid YAML: {one_line(error)}") from error
