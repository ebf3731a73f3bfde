"""The blocks of `docs/mcp.md` are run one after the other, and print what the text block after each says."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from runtime.config import load_config

ROOT = Path(__file__).parents[2]
FENCES = [token for token in MarkdownIt().parse((ROOT / "docs" / "mcp.md").read_text("utf-8")) if token.type == "fence"]


def test_python_prints_what_is_said() -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
    compared = 0
    for token, following in zip(FENCES, [*FENCES[1:], None], strict=True):
        if token.info != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = compile("\n" * token.map[0] + token.content, "docs/mcp.md", "exec", dont_inherit=True)
            exec(code, namespace)
        if following is not None and following.info == "text":
            assert re.sub(r"session [0-9a-f]{16}", "session SESSION", printed.getvalue()) == following.content
            compared += 1
    assert compared == 3


def test_the_configuration_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [token for token in FENCES if token.info == "toml"]
    config = load_config(**tomllib.loads(block.content))
    assert list(config.mcp) == ["time", "tracker"]
    assert config.mcp["tracker"].secrets() == {"secret:tracker"}
