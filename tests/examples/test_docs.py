"""The blocks of some texts are run one after the other, and print what the text block after each says."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from runtime.config import load_config

ROOT = Path(__file__).parents[2]


def fences(name: str) -> list[Token]:
    """The blocks of a text."""
    tokens = MarkdownIt().parse((ROOT / "docs" / name).read_text("utf-8"))
    return [token for token in tokens if token.type == "fence"]


@pytest.mark.parametrize(("name", "count"), [("mcp.md", 3), ("models.md", 4)])
def test_python_prints_what_is_said(name: str, count: int) -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
    compared = 0
    blocks = fences(name)
    for token, following in zip(blocks, [*blocks[1:], None], strict=True):
        if token.info != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = compile("\n" * token.map[0] + token.content, f"docs/{name}", "exec", dont_inherit=True)
            exec(code, namespace)
        if following is not None and following.info == "text":
            assert re.sub(r"session [0-9a-f]{16}", "session SESSION", printed.getvalue()) == following.content
            compared += 1
    assert compared == count


def test_the_configuration_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [token for token in fences("mcp.md") if token.info == "toml"]
    config = load_config(**tomllib.loads(block.content))
    assert list(config.mcp) == ["time", "tracker"]
    assert config.mcp["tracker"].secrets() == {"secret:tracker"}


def test_the_configuration_of_models_is_one() -> None:
    (block,) = [token for token in fences("models.md") if token.info == "toml"]
    config = load_config(**tomllib.loads(block.content))

    assert config.models["default"].fallbacks == ["claude", "local"]
    assert config.models["claude"].timeouts.first_token_s == 20.0
