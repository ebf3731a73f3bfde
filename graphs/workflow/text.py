"""YAML and JSON texts to plain data and back."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import yaml

from graphs.errors import GraphInvalid
from graphs.workflow.problems import Problem, invalid

Format = Literal["yaml", "json"]
LINE_LENGTH = 100
_UNSAFE = re.compile("[\x85\u2028\u2029\ufeff]")
_BOOL = "tag:yaml.org,2002:bool"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """The safe loader, with each key once, no aliases, and of YAML's implicit types only those that JSON has.

    So `yes`, `no`, `on`, `off` and dates are texts, as in YAML 1.2, and a short text cannot stand for a huge value.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not supported; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key}" stands here a second time', key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class _Dumper(yaml.SafeDumper):
    """The safe dumper, without anchors; several lines of text are a block, short lists and mappings are one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = _fits_a_line(node.value)
        return node

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = _fits_a_line([leaf for pair in node.value for leaf in pair])
        return node


def _fits_a_line(leaves: list[yaml.Node]) -> bool:
    is_flat = all(isinstance(leaf, yaml.ScalarNode) and leaf.style != "|" for leaf in leaves)
    return is_flat and sum(len(leaf.value) + 2 for leaf in leaves) <= LINE_LENGTH


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # The library reads some line breaks and marks of Unicode as others unless they are escaped in double quotes.
    style = '"' if _UNSAFE.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def parse(text: str, form: Format) -> Any:
    """The data in `text`: None, bool, int, float, str, and lists and mappings with text keys of these.

    Raises:
        GraphInvalid: It is not YAML or JSON, or holds what JSON cannot; the message tells the line.
    """
    if form == "json":
        try:
            return json.loads(text, object_pairs_hook=_each_key_once)
        except json.JSONDecodeError as error:
            raise _unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
        except _TwiceError as error:
            raise _unreadable(f'the key "{error}" stands in one object twice') from error
        except RecursionError as error:
            raise _unreadable("nested too deeply") from error
    try:
        data = yaml.load(text, _Loader)  # noqa: S506
        return json.loads(json.dumps(data))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _unreadable(f"{place}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise _unreadable(" ".join(str(error).split())) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise _unreadable(f"it holds what JSON cannot: {error}") from error


def write(data: Any, form: Format) -> str:
    """`data` as text that `parse` reads; ends with a newline."""
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LINE_LENGTH)


class _TwiceError(ValueError):
    """A key stands twice in one JSON object."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


def _unreadable(reason: str) -> GraphInvalid:
    return invalid("workflow cannot be read", [Problem("", reason)])
