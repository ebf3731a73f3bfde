"""A driver's functions in a process that does not have the driver's code."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from actors.functions import pack_functions, unpack_functions

_ROOT = Path(__file__).parent.parent.parent

_DRIVER = """
import sys
from math import sqrt
from pathlib import Path

from pydantic import BaseModel

import helpers
from actors.functions import pack_functions
from graphs.errors import NodeError

GREETING = "hello"

class Ticket(BaseModel):
    text: str = ""

def greet(state: Ticket) -> dict:
    return {"text": f"{GREETING} {helpers.shout(state.text)}"}

def lazy(state: Ticket) -> dict:
    from late import late
    return {"text": late(state.text)}

def fail(state: Ticket) -> dict:
    raise NodeError("on purpose")

functions = {"greet": greet, "lazy": lazy, "fail": fail, "sqrt": sqrt, "Ticket": Ticket, "shout": helpers.shout}
Path(sys.argv[1]).write_bytes(pack_functions(functions))
"""

_WORKER = """
import sys
from pathlib import Path
from actors.functions import unpack_functions
from graphs.errors import NodeError

functions = unpack_functions(Path(sys.argv[1]).read_bytes())
ticket = functions["Ticket"](text="ada")
print(functions["greet"](ticket), functions["lazy"](ticket), functions["sqrt"](16), functions["shout"]("bob"))
try:
    functions["fail"](ticket)
except NodeError as error:
    print(error)
print("helpers" in sys.modules, isinstance(ticket, functions["Ticket"]))
"""


def run(script, *arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}  # noqa: TID251
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_functions_of_a_script_and_of_its_modules_run_elsewhere(tmp_path):
    driver, worker = tmp_path / "driver", tmp_path / "worker"
    driver.mkdir()
    worker.mkdir()
    (driver / "main.py").write_text(_DRIVER)
    (driver / "helpers.py").write_text("def shout(text):\n    return text.upper()\n")
    (driver / "late.py").write_text("def late(text):\n    return text[::-1]\n")
    (worker / "main.py").write_text(_WORKER)

    run(driver / "main.py", tmp_path / "packed", cwd=driver)
    lines = run(worker / "main.py", tmp_path / "packed", cwd=worker)

    assert lines == ["{'text': 'hello ADA'} {'text': 'ada'} 4.0 BOB", "on purpose", "False True"]


def test_closures_and_functions_of_test_modules_are_packed():
    def adder(amount):
        return lambda number: number + amount

    functions = unpack_functions(pack_functions({"add": adder(2), "root": run}))

    assert functions["add"](40) == 42
    assert functions["root"] is not run
    assert functions["root"].__code__ == run.__code__


def test_what_cannot_be_packed_says_so():
    lock = threading.Lock()

    with pytest.raises(TypeError, match="lock"):
        pack_functions({"held": lambda: lock})
