"""Functions found again by where they are written, in a process that nobody has sent them to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actors.programs import describe_program

_ROOT = Path(__file__).parent.parent.parent

_DRIVER = """
import sys
from pathlib import Path

from pydantic import BaseModel

import helpers
from actors.programs import describe_program

GREETING = "hello"


class Ticket(BaseModel):
    text: str = ""

    def greeting(self) -> str:
        return f"{GREETING} {self.text}"


def greet(state: Ticket) -> dict:
    return {"text": helpers.shout(state.greeting())}


def functions() -> dict:
    def local(state: Ticket) -> dict:
        return {}

    return {"greet": greet, "shout": helpers.shout, "state:g": Ticket, "length": len, "local": local}
"""
_GUARDED = """
if __name__ == "__main__":
    wanted = {name: function for name, function in functions().items() if name in sys.argv[2:]}
    Path(sys.argv[1]).write_bytes(describe_program(wanted))
"""
_BARE = """
wanted = {name: function for name, function in functions().items() if name in sys.argv[2:]}
with open(sys.argv[1], "xb") as file:
    file.write(describe_program(wanted))
"""
_ACTOR = """
import sys
from pathlib import Path
from actors.errors import FunctionUnavailable
from actors.programs import load_program

try:
    found = load_program(Path(sys.argv[1]).read_bytes())
except FunctionUnavailable as error:
    print(error.retryable, error.function, error)
else:
    assert load_program(Path(sys.argv[1]).read_bytes()) == found
    ticket = found["state:g"](text="world") if "state:g" in found else None
    print(found["greet"](ticket) if "greet" in found and ticket else sorted(found))
"""


def _python(script: Path, *arguments: object, **options: str) -> str:
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {"PYTHONPATH": str(_ROOT), "PATH": ""}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["guarded", "bare"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helpers.py").write_text("def shout(text: str) -> str:\n    return text.upper()\n")
    script = folder / "driver.py"
    script.write_text(_DRIVER + (_GUARDED if request.param == "guarded" else _BARE))
    (tmp_path / "actor.py").write_text(_ACTOR)
    return script


def _described(driver: Path, *names: str) -> Path:
    target = driver.parent.parent / "program"
    _python(driver, target, *names)
    return target


def _found(program: Path) -> str:
    return _python(program.with_name("actor.py"), program)


def test_functions_types_and_modules_of_a_program_are_found(driver: Path) -> None:
    assert _found(_described(driver, "greet", "shout", "state:g", "length")) == "{'text': 'HELLO WORLD'}"


def test_a_function_that_has_changed_is_not_taken_for_the_one_it_was(driver: Path) -> None:
    program = _described(driver, "greet")
    driver.write_text(driver.read_text().replace("helpers.shout(state.greeting())", "'?'"))

    assert _found(program) == (
        "True greet greet cannot be found again (its source has changed); "
        "its threads go on when its workflow is deployed again"
    )


def test_what_has_changed_around_a_function_does_not_matter(driver: Path) -> None:
    program = _described(driver, "greet", "state:g")
    driver.write_text(driver.read_text().replace('GREETING = "hello"', 'GREETING = "good morning"'))

    assert _found(program) == "{'text': 'GOOD MORNING WORLD'}"


def test_a_file_that_is_gone(driver: Path) -> None:
    program = _described(driver, "greet")
    driver.unlink()

    assert _found(program).startswith("True greet greet cannot be found again (FileNotFoundError")


def test_a_function_within_a_function_has_no_name(driver: Path) -> None:
    assert "made within another function" in _found(_described(driver, "local"))


def test_a_program_holds_no_code(driver: Path) -> None:
    assert b"shout(" not in describe_program({"f": _python})
