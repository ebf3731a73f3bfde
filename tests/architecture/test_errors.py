"""Every error survives the ways it travels: pickled between processes, and as data in the journal and in messages."""

from __future__ import annotations

import importlib
import inspect
import pickle  # noqa: TID251 - this is how Ray carries errors
import pkgutil
from collections.abc import Iterator

import msgspec
import pytest

import actors
import graphs
import runtime
from graphs.errors import ErrorInfo, GreenroomError

FIELDS = {"node": "answer", "index": 3, "cause": {"code": "ValueError", "message": "no", "fields": {}}}


def _errors() -> Iterator[type[GreenroomError]]:
    """All in the three packages but the base, found by importing every module."""
    for package in (graphs, actors, runtime):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found, todo = set(), GreenroomError.__subclasses__()
    while todo:
        error = todo.pop()
        if error not in found and error.__module__.partition(".")[0] in ("graphs", "actors", "runtime"):
            found.add(error)
            todo.extend(error.__subclasses__())
    yield from sorted(found, key=lambda error: error.__name__)


ERRORS = list(_errors())


def test_there_are_errors() -> None:
    """The walk finds errors of each package, and no name stands for two classes."""
    names = [error.__name__ for error in ERRORS]

    assert {"GraphInvalid", "DestinationDied", "ConfigError"} <= set(names)
    assert sorted(set(names)) == names


@pytest.mark.parametrize("error_type", ERRORS, ids=lambda error: error.__name__)
def test_pickles(error_type: type[GreenroomError]) -> None:
    """Type, text and fields are the same on the other side."""
    error = error_type("what is wrong; what to do", **FIELDS)

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), copy.fields, copy.node) == (error_type, str(error), error.fields, "answer")


@pytest.mark.parametrize("error_type", ERRORS, ids=lambda error: error.__name__)
def test_travels_as_data(error_type: type[GreenroomError]) -> None:
    """As `ErrorInfo` through msgpack and back it is the same error."""
    error = error_type("what is wrong; what to do", **FIELDS)

    info = msgspec.msgpack.decode(msgspec.msgpack.encode(error.info()), type=ErrorInfo)
    copy = GreenroomError.from_info(info)

    assert (type(copy), str(copy), copy.fields) == (error_type, str(error), error.fields)
    assert info.retryable == error_type.retryable


@pytest.mark.parametrize("error_type", ERRORS, ids=lambda error: error.__name__)
def test_says_when_it_is_raised(error_type: type[GreenroomError]) -> None:
    """Each class has a docstring of its own."""
    assert inspect.getdoc(error_type)
    assert "__doc__" in vars(error_type)
    assert vars(error_type)["__doc__"] is not None
