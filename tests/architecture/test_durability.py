"""`docs/durability.md` and `docs/models.md` promise nothing that no test holds."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "durability.md").read_text("utf-8")
MODELS = (ROOT / "docs" / "models.md").read_text("utf-8")


def test_every_test_it_names_is_there() -> None:
    """Each `test_...` of the text is a test."""
    named = set(re.findall(r"\btest_\w+", TEXT + MODELS))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    }

    assert named
    assert named - there == set()


def test_every_row_of_what_survives_what_and_of_what_goes_wrong_has_its_test() -> None:
    """The last cell of each row names one."""
    survives = TEXT[TEXT.index("## What survives what") : TEXT.index("## What the store promises")]
    wrong = MODELS[MODELS.index("## What goes wrong") : MODELS.index("## Templates")]
    rows = [line for table in (survives, wrong) for line in _rows(table)]

    assert [row for row in rows if not re.search(r"`test_\w+` \|$", row)] == []


def _rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("| ")][1:]
