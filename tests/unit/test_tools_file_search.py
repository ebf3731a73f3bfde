"""Passages are found by what they say, in the allowed folders only."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import AccessRefused, ToolError
from actors.tools.builtin import file_search as module
from actors.tools.builtin.file_search import file_search_tool
from actors.tools.settings import ToolSettings


def search(*folders: Path):
    return file_search_tool(ToolSettings(files=tuple(map(str, folders))))


def files(found) -> list[str]:
    return [each["file"] for each in found]


def test_the_best_passage_comes_first(tmp_path: Path) -> None:
    (tmp_path / "cats.md").write_text("Cats sleep. Cats eat. Cats play with other cats.")
    (tmp_path / "dogs.md").write_text("Dogs bark at cats, " + "and at everything else that comes along " * 5)
    (tmp_path / "image.png").write_bytes(b"cats")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mice.txt").write_text("Mice run.")

    found = search(tmp_path)("cat")

    assert files(found) == ["cats.md", "dogs.md"]
    assert found[0]["passage"] == "Cats sleep. Cats eat. Cats play with other cats."
    assert files(search(tmp_path)("Do mice run?")) == ["sub/mice.txt"]
    assert files(search(tmp_path)("cat", limit=1)) == ["cats.md"]
    assert search(tmp_path)("nothing") == []


def test_long_texts_are_cut_into_passages(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("\n\n".join(f"part{number} " + "word " * 100 for number in range(4)))

    (found,) = search(tmp_path)("part2")

    assert found["passage"].split() == ["part2", *["word"] * 100]


def test_what_looks_like_a_query_language_is_only_words(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text('either "this" OR that NEAR(file:x*)')

    assert files(search(tmp_path)('"NEAR( passage:this* AND -that')) == ["a.md"]


def test_changes_are_seen(tmp_path: Path) -> None:
    find = search(tmp_path)
    before = find("cat")
    (tmp_path / "a.md").write_text("a cat")
    after = find("cat")
    (tmp_path / "a.md").write_text("a dog, and nobody else")

    assert (before, files(after), find("cat")) == ([], ["a.md"], [])


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("secret")
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "file.md").symlink_to(outside / "secret.md")
    (allowed / "folder").symlink_to(outside)

    assert search(allowed)("secret") == []


def test_what_cannot_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccessRefused, match=r"no folder is allowed; name one in access\.files"):
        search()("x")
    with pytest.raises(ToolError, match="query: has no words"):
        search(tmp_path)("?!")
    monkeypatch.setattr(module, "MAX_FILES", 1)
    for name in "ab":
        (tmp_path / f"{name}.md").write_text(name)
    with pytest.raises(ToolError, match="there are more than 1 files"):
        search(tmp_path)("a")
