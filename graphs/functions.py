"""Python callables that a graph refers to by `module:qualified.name`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from graphs.errors import NotFoundError

Function = Callable[..., Any]


def reference(function: Function) -> str:
    """`module:qualified.name` of a callable; that of its class for an object that can be called."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def refer(function: Function, functions: MutableMapping[str, Function]) -> str:
    """The reference of `function`, kept in `functions`; those that share one are told apart by a number."""
    base = ref = reference(function)
    number = 1
    while functions.setdefault(ref, function) is not function:
        number += 1
        ref = f"{base}#{number}"
    return ref


def state_reference(graph_id: str) -> str:
    """What the type of a graph's state goes by among its callables."""
    return f"state:{graph_id}"


def is_reference(name: str) -> bool:
    """Whether `name` names a Python callable, and not something registered."""
    return ":" in name


def resolve(ref: str, functions: Mapping[str, Function]) -> Function:
    """The callable that `ref` names.

    Args:
        ref: `module:qualified.name`.
        functions: Callables that came with the graph; what is not in it is imported.

    Raises:
        NotFoundError: There is no such module or function, its module cannot be imported, or it is not callable.
    """
    if ref in functions:
        return functions[ref]
    module_name, _, qualname = ref.partition(":")
    if not module_name or not qualname:
        raise NotFoundError(f'"{ref}" is not of the form "module:function"', kind="function", key=ref)
    try:
        found: Any = importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise NotFoundError(
            f'cannot import "{ref}": {error}; install its module or correct the name', kind="function", key=ref
        ) from error
    if not callable(found):
        raise NotFoundError(f'"{ref}" is not callable', kind="function", key=ref)
    return found  # type: ignore[no-any-return]
