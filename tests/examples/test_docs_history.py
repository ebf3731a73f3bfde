"""The Python blocks of docs/history.md are run and print what the text after them says; its configuration loads."""

from __future__ import annotations

import contextlib
import io
import runpy
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from runtime.config import load_config

ROOT = Path(__file__).parents[2]
FENCES = [
    token for token in MarkdownIt().parse((ROOT / "docs" / "history.md").read_text("utf-8")) if token.type == "fence"
]
PROGRAMS = [(block, after) for block, after in pairwise(FENCES) if block.info.startswith("python")]


@pytest.mark.usefixtures("clean_environment")
@pytest.mark.parametrize(("block", "after"), PROGRAMS, ids=[block.info for block, _ in PROGRAMS])
def test_programs(block, after, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(block.content)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        runpy.run_path(str(program), run_name="__main__")

    assert after.info == "text"
    assert stdout.getvalue() == after.content


@pytest.mark.usefixtures("clean_environment")
def test_configuration() -> None:
    (block,) = [token for token in FENCES if token.info == "toml"]
    config = load_config(**tomllib.loads(block.content))

    assert str(config.models["default"].price.output_per_million) == "0.6"
    assert (config.history.redact, config.retention.history_days) == ("my_company.privacy:redact", 7)
