"""The blocks of `docs/tools.md` are run one after the other, and print what the text block after each says."""

from __future__ import annotations

import contextlib
import io
import tomllib
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from actors.tools.factory import build_tools
from runtime.config import load_config
from tests.component.shop import served

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tools.md").read_text("utf-8")
FENCES = [token for token in MarkdownIt().parse(TEXT) if token.type == "fence"]


@pytest.mark.usefixtures("clean_environment")
def test_python_prints_what_is_said() -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
    compared = 0
    with contextlib.ExitStack() as stack:
        for token, following in zip(FENCES, [*FENCES[1:], None], strict=True):
            if token.info != "python":
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                code = compile("\n" * token.map[0] + token.content, "docs/tools.md", "exec", dont_inherit=True)
                exec(code, namespace)
            if "url" not in namespace:
                namespace["url"] = stack.enter_context(served(namespace["api"]))
            if following is not None and following.info == "text":
                assert printed.getvalue() == following.content
                compared += 1
    assert compared == 3


@pytest.mark.usefixtures("clean_environment")
def test_the_configuration_is_one(tmp_path: Path) -> None:
    (block,) = [token for token in FENCES if token.info == "toml"]
    (tmp_path / "weather.yaml").write_text("tools: [{name: city, kind: rest, url: 'http://weather.test'}]")

    config = load_config(**tomllib.loads(block.content))

    assert list(config.tools) == ["city", "stock"]
    assert config.secrets["weather_key"].env == "WEATHER_KEY"
    assert [str(path) for path in config.access.files] == [str(tmp_path)]


def test_every_builtin_tool_is_named() -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith("| builtin |"))

    assert {tool.name for tool in build_tools().list_tools()} == set(line.split("`")[1::2])
