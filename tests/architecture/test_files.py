"""How long files may be, what an import brings along, and what the public API is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 500
FOLDERS = ("graphs", "actors", "runtime", "benchmarks", "examples")


def test_no_file_is_longer_than_500_lines() -> None:
    """One noun per file; who needs more has two nouns."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }

    assert lengths, "no files were found"
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        pytest.param("import graphs.workflow.planner, graphs.workflow.builder", "actors", id="graphs"),
        pytest.param("import actors.processes, actors.stores.redis, actors.tools.factory", "runtime", id="actors"),
        pytest.param("from runtime import LocalRuntime", "ray", id="local runtime"),
        pytest.param("import actors.processes, actors.stores.redis", "ray", id="actors without Ray"),
        pytest.param("import runtime.cli", "ray", id="command line"),
    ],
)
def test_imports_stay_light(program: str, absent: str) -> None:
    """What is not needed is not imported: `greenroom --help` does not wait for Ray."""
    check = f"{program}\nimport sys\nprint({absent!r} in sys.modules)"

    imported = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert imported.stdout == "False\n"


def test_public_names() -> None:
    """`runtime.__all__` is sorted, without repetition, and each of its names is there."""
    import runtime

    assert sorted(set(runtime.__all__)) == sorted(runtime.__all__)
    assert [name for name in runtime.__all__ if not hasattr(runtime, name)] == []
