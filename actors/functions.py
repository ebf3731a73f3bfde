"""Python callables on their way to other processes. They go over Ray calls only, never into the store.

What can be imported everywhere (installed packages, the standard library, Greenroom) goes by name; what belongs to the
driver's own program goes by value, so that an edited script is what runs even where its former version was imported.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from actors.remote import cloudpickle

_OURS = ("graphs", "actors", "runtime")


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """Callables and where their program's modules are."""

    pickled: bytes
    paths: list[str]
    """The driver's `sys.path`."""


def pack_functions(functions: Mapping[str, Callable[..., Any]]) -> bytes:
    """Callables by reference as bytes for `unpack_functions`.

    Raises:
        TypeError: One of them holds something that cannot leave this process, such as an open file or a lock.
    """
    with _by_value(functions.values()):
        pickled = cloudpickle.dumps(dict(functions))
    return msgspec.msgpack.encode(Packed(pickled=pickled, paths=[path for path in sys.path if path]))


def unpack_functions(packed: bytes) -> Mapping[str, Callable[..., Any]]:
    """What `pack_functions` was given; modules of the driver's program can be imported after it."""
    content = msgspec.msgpack.decode(packed, type=Packed)
    sys.path.extend(path for path in content.paths if path not in sys.path)
    functions: dict[str, Callable[..., Any]] = cloudpickle.loads(content.pickled)
    return functions


@contextmanager
def _by_value(functions: Any) -> Iterator[None]:
    """Within, the modules of these functions are pickled by value unless they are installed."""
    modules = {module for module in map(_module, functions) if module is not None and not _installed(module)}
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _module(function: Callable[..., Any]) -> ModuleType | None:
    name = getattr(function, "__module__", None) or type(function).__module__
    return None if name == "__main__" else sys.modules.get(name)


def _installed(module: ModuleType) -> bool:
    if module.__name__.partition(".")[0] in (*_OURS, *sys.stdlib_module_names):
        return True
    if module.__file__ is None:
        return True
    file = Path(module.__file__).resolve()
    return any(file.is_relative_to(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))
