"""`greenroom tools import`, and tools from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from graphs.workflow.spec import load_tools
from runtime import ConfigError
from runtime.cli import app
from runtime.config import load_config
from tests.component.web_server import web_server

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "3"},
    "servers": [{"url": "https://pets.test"}],
    "security": [{"token": []}],
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "paths": {
        "/pets": {"get": {"operationId": "list_pets", "tags": ["a"], "responses": {"200": {"description": "ok"}}}},
        "/owners": {"get": {"operationId": "list_owners", "tags": ["b"], "responses": {"200": {"description": "ok"}}}},
    },
}


@pytest.fixture
def document(clean_environment: None, tmp_path: Path) -> Path:
    path = tmp_path / "pets.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


def greenroom(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["tools", *map(str, arguments)])


def test_what_is_printed_are_tools(document: Path) -> None:
    printed = greenroom("import", document, "--auth", "secret:pets_key", "--base-url", "http://127.0.0.1:8000")

    assert printed.exit_code == 0
    tools = load_tools(printed.stdout)
    assert [(tool.name, tool.url) for tool in tools] == [
        ("list_pets", "http://127.0.0.1:8000/pets"),
        ("list_owners", "http://127.0.0.1:8000/owners"),
    ]
    assert load_tools(greenroom("import", document, "--auth", "token=secret:pets_key", "--json").stdout, "json") == [
        tool.model_copy(update={"url": tool.url.replace("http://127.0.0.1:8000", "https://pets.test")})
        for tool in tools
    ]


def test_only_some_and_with_a_prefix(document: Path) -> None:
    by_tag = greenroom("import", document, "--auth", "secret:k", "--tags", "a", "--prefix", "zoo_")
    by_name = greenroom("import", document, "--auth", "secret:k", "--include", "*owners", "--include", "nothing")

    assert [tool.name for tool in load_tools(by_tag.stdout)] == ["zoo_list_pets"]
    assert [tool.name for tool in load_tools(by_name.stdout)] == ["list_owners"]


def test_problems_are_errors(document: Path) -> None:
    refused = greenroom("import", document)
    assert refused.exit_code == 1
    assert 'needs "token"; give auth with the name of its secret' in str(refused.exception)
    assert greenroom("import", document, "--auth", "a=b", "--auth", "c").exit_code == 2


def test_tools_of_files_are_configured(document: Path, tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text(greenroom("import", document, "--auth", "secret:pets_key").stdout)

    config = load_config(tool_files=["pets.yaml"], tools={"own": {"kind": "rest", "url": "http://own.test"}})

    assert list(config.tools) == ["list_pets", "list_owners", "own"]


def test_tools_are_listed_by_kind_tag_and_name(document: Path, tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text(greenroom("import", document, "--auth", "secret:pets_key").stdout)
    (tmp_path / "greenroom.toml").write_text('tool_files = ["pets.yaml"]\n[secrets]\npets_key = "x"\n')

    def names(*options: str) -> list[str]:
        return [tool["name"] for tool in json.loads(greenroom("ls", "--json", *options).stdout)]

    assert {"calculator", "list_owners", "list_pets"} < set(names())
    assert names("--type", "rest") == ["list_owners", "list_pets"]
    assert names("--type", "rest", "--tag", "a") == ["list_pets"]
    assert names("--tag", "a", "--tag", "b") == []
    assert names("--name", "OWNERS") == ["list_owners"]
    assert greenroom("ls", "--type", "soap").exit_code == 2


def test_a_configured_tool_is_run(clean_environment: None, tmp_path: Path) -> None:
    with web_server() as server:
        (tmp_path / "greenroom.toml").write_text(
            f"""
            secrets.key = "hush-hush-hush"
            [tools.look]
            url = "{server.url}/{{where}}"
            auth = {{kind = "bearer", token = "secret:key"}}
            result = "$.target"
            parameters.where = {{type = "string"}}
            """
        )
        ran = greenroom("run", "look", "--arguments", '{"where": "here"}')
        wrong = greenroom("run", "look")

        assert (ran.exit_code, ran.stdout) == (0, "/here\n")
        assert server.requests[0].headers["authorization"] == "Bearer hush-hush-hush"
        assert wrong.exit_code == 1
        assert "look: where: is required" in wrong.stderr
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, r"cannot read tools\.yaml: .*No such file"),
        ("tools: [{name: a, kind: rest}]", r"tools\.yaml: tools\[0\]\.url: is missing"),
        ("tools: [{name: a, kind: rest, url: 'http://h/{b}'}]", r'tools\.yaml: tools\[0\]\.url: no parameter "b"'),
        ("nodes: []", r"tools\.yaml: nodes: there is no such option"),
        (
            "tools: [{name: a, kind: rest, url: 'http://h'}, {name: a, kind: rest, url: 'http://i'}]",
            r'tools\.yaml: another tool is called "a"',
        ),
    ],
)
def test_files_that_hold_no_tools(clean_environment: None, tmp_path: Path, text: str | None, problem: str) -> None:
    if text is not None:
        (tmp_path / "tools.yaml").write_text(text)

    with pytest.raises(ConfigError, match=problem):
        load_config(tool_files=["tools.yaml"])
