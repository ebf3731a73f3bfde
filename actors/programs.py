"""Where the functions of a workflow are written: by that they are found again when the driver and Ray are gone.

It is plain data (paths, names, digests of sources), kept in the store. What it names is imported. The program's own
file, which was `__main__`, is imported under another name, so that the part under `if __name__ == "__main__"` does not
run. Of a file without such a part only what it defines is run, and none of its other statements.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import linecache
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from actors.errors import FunctionUnavailable
from graphs.functions import reference

_MAIN = "__main__"
_DEFINING = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
_lock = threading.Lock()


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one function is written."""

    name: str
    """`module:qualified.name`; empty if it cannot be found by a name."""
    digest: str = ""
    """Of its source; empty if it has none."""


class Program(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The driver's program, as far as a workflow needs it."""

    paths: list[str]
    """Its `sys.path`."""
    main: str = ""
    """File of its `__main__` module."""
    main_module: str = ""
    """Name of its `__main__` module, if it was started by name."""
    functions: dict[str, Origin]
    """By the reference the workflow has."""


def describe_program(functions: Mapping[str, Callable[..., Any]]) -> bytes:
    """Where these callables are written, as bytes for `load_program`."""
    main = sys.modules[_MAIN]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    program = Program(
        paths=[str(Path(path).resolve()) for path in sys.path],
        main=str(Path(file).resolve()) if file is not None else "",
        main_module=spec.name if spec is not None else "",
        functions={ref: _origin(function) for ref, function in functions.items()},
    )
    return msgspec.msgpack.encode(program)


def load_program(described: bytes) -> Mapping[str, Callable[..., Any]]:
    """The callables that `describe_program` was given.

    Raises:
        FunctionUnavailable: One is not where it was, or is another one now.
    """
    program = msgspec.msgpack.decode(described, type=Program)
    with _lock:
        sys.path.extend(path for path in program.paths if path not in sys.path)
        linecache.checkcache()
        return {ref: _load(program, ref, origin) for ref, origin in program.functions.items()}


def _origin(function: Callable[..., Any]) -> Origin:
    name = reference(function)
    if not hasattr(function, "__qualname__") or "<" in name:
        return Origin(name="")
    return Origin(name=name, digest=_digest(function))


def _digest(function: Any) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # built in
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


def _load(program: Program, ref: str, origin: Origin) -> Callable[..., Any]:
    if not origin.name:
        raise _unavailable(ref, "it was made within another function, and has no name of its own")
    module_name, _, qualname = origin.name.partition(":")
    try:
        found: Any = _main(program) if module_name == _MAIN else importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise _unavailable(ref, f"{type(error).__name__}: {error}") from error
    if _digest(found) != origin.digest:
        raise _unavailable(ref, "its source has changed")
    return found  # type: ignore[no-any-return]


def _main(program: Program) -> ModuleType:
    """What was the driver's `__main__` module."""
    if program.main_module:
        return importlib.import_module(program.main_module)
    path = Path(program.main)
    source = path.read_bytes()
    name = f"greenroom_main_{hashlib.sha256(program.main.encode() + source).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    tree = ast.parse(source, filename=program.main)
    if not any(map(_is_guard, tree.body)):
        tree.body = [statement for statement in tree.body if isinstance(statement, _DEFINING)]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = program.main
    try:
        exec(compile(tree, program.main, "exec"), module.__dict__)  # noqa: S102 - an import, as the driver's own
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_guard(statement: ast.stmt) -> bool:
    """Whether it is `if __name__ == "__main__": ...`."""
    if not isinstance(statement, ast.If) or not isinstance(statement.test, ast.Compare):
        return False
    sides = [statement.test.left, *statement.test.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


def _unavailable(ref: str, why: str) -> FunctionUnavailable:
    return FunctionUnavailable(
        f"{ref} cannot be found again ({why}); its threads go on when its workflow is deployed again",
        function=ref,
    )
