"""`greenroom demo` on Ray."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration


@pytest.fixture
def demo(drivers, tmp_path):
    """Runs the demonstration; (exit code, standard output, standard error)."""

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "runtime.cli", "demo", *arguments],
            cwd=tmp_path,
            env={**drivers.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_document_tells_all_of_it(demo, tmp_path):
    for index in range(5):
        (tmp_path / f"text{index}.txt").write_text(f"Text number {index} is about actors. It is short.")
    code, printed, errors = demo("--json", "--model", "scripted", "--input", str(tmp_path), "--files", "4")
    document = json.loads(printed)
    main, *children = document["threads"]
    runs = {node["node"]: node["runs"] for node in document["nodes"]}
    addresses = {process["address"] for process in document["ray"]["processes"] if process["took_part"]}

    assert (code, errors) == (0, "")
    assert (document["status"], document["error"]) == ("completed", None)
    assert document["workflow"].startswith("digest@1.0.0+")
    assert document["digest"].startswith("scripted: Here are notes about some files")
    assert [file["name"] for file in document["files"]] == [f"text{index}.txt" for index in range(4)]
    assert [file["file_words"] for file in document["files"]] == [9] * 4
    assert (main["thread_id"], main["title"]) == (document["thread_id"], "digest")
    assert [child["title"] for child in children] == [f"text{index}.txt" for index in range(4)]
    assert {thread["status"] for thread in document["threads"]} == {"completed"}
    assert {name: runs[name] for name in ("prepare", "summarise", "count", "pack")} == dict.fromkeys(
        ("prepare", "summarise", "count", "pack"), 4
    )
    assert {name: runs[name] for name in ("each", "collect", "digest")} == {"each": 1, "collect": 1, "digest": 1}
    assert document["usage"]["calls"] == runs["summarise"] + runs.get("shorten", 0) + runs["digest"]
    assert addresses == {*document["ray"]["hosts"], *document["ray"]["executors"]}
    assert {thread["host"] for thread in document["threads"]} == set(document["ray"]["hosts"])
    assert len(document["ray"]["hosts"]) > 1
    assert document["ray"]["machines"] == 1
    assert document["seconds"]["total"] == pytest.approx(
        sum(document["seconds"][part] for part in ("start", "deploy", "run")), abs=0.01
    )


def test_people_see_progress_and_a_report(demo, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("One text about actors.")
    (tmp_path / "texts" / "two.bin").write_bytes(b"\xff")
    code, printed, errors = demo("--model", "scripted", "--input", "texts")
    lines = printed.splitlines()

    assert (code, errors) == (0, "")
    assert lines[0] == "skipped texts/two.bin: is not UTF-8 text"
    assert any("summarise done on llm-" in line for line in lines)
    for title in ("Digest of 1 text", "Threads", "Time"):
        assert title in lines
    assert "2 threads on " in printed
    assert " Ray actors, each a process, on 1 machine" in printed


def test_a_failure_is_told_and_the_rest_is_shown(demo):
    model = '{"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}'
    code, printed, errors = demo("--json", "--files", "2", "--model", "down", GREENROOM_MODELS__DOWN=model)
    document = json.loads(printed)

    assert code == 1
    assert (document["status"], document["digest"]) == ("failed", "")
    assert "http://127.0.0.1:9/v1" in document["error"]["message"]
    assert json.loads(errors)["error"] == document["error"]
    assert document["threads"][0]["status"] == "failed"


def test_the_local_model_writes_the_digest(demo):
    code, printed, errors = demo("--json", "--files", "2", "--model", "local")
    document = json.loads(printed)

    assert (code, errors) == (0, "")
    assert len(document["digest"].split()) > 5
    assert all(file["summary"] for file in document["files"])
    assert document["usage"]["completion_tokens"] > 20
