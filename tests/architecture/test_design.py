"""`docs/design.md` lives: it names every module and every dependency, and nothing that is not there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "design.md").read_text("utf-8")
FILES = sorted(path for package in ("graphs", "actors", "runtime") for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 480


def _code() -> set[str]:
    """Everything the text has in backticks."""
    tokens = MarkdownIt().enable("table").parse(TEXT)
    inline = [child for token in tokens for child in token.children or ()]
    return {child.content for child in inline if child.type == "code_inline"}


def _names(path: Path) -> set[str]:
    """What a text may call a file: its path, any end of it, or its folder such as `cli/`."""
    parts = path.relative_to(ROOT).parts
    return {"/".join(parts[start:]) for start in range(len(parts))} | {f"{parts[-2]}/"}


def test_every_module_is_named() -> None:
    """Every file has its place in the text, alone or with its folder."""
    named = _code() - {"graphs/", "actors/", "runtime/"}
    modules = [path for path in FILES if path.name != "__init__.py"]

    assert [str(path.relative_to(ROOT)) for path in modules if not _names(path) & named] == []


def test_every_name_is_a_module() -> None:
    """The text names no file that has gone."""
    known = set().union(*map(_names, FILES))

    assert {name for name in _code() if name.endswith(".py")} - known == set()


def test_every_dependency_has_its_reason() -> None:
    """What is installed with Greenroom stands in the table of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["local"]
    table = TEXT[TEXT.index("## Dependencies") :]

    assert [name for name in (re.split(r"[<>=\[; ]", each)[0] for each in wanted) if name not in table] == []


def test_it_can_be_read_in_one_sitting() -> None:
    """It is shorter than 480 lines."""
    assert len(TEXT.splitlines()) < MAX_LINES
