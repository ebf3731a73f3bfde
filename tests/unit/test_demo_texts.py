"""Texts of a demonstration: what is taken, what is skipped, and what is refused."""

from __future__ import annotations

import os

import pytest

from graphs.errors import ValidationError
from runtime.demo import texts
from runtime.demo.texts import MAX_FILE_BYTES, MODULES, Text, docstrings, read_texts


def test_without_files_a_dozen_docstrings_are_read():
    found = docstrings(12)

    assert [text.name for text in found.texts] == list(MODULES)
    assert len(MODULES) == 12
    assert all(len(text.text.split()) > 100 for text in found.texts)
    assert (found.skipped, found.has_more) == ([], False)
    assert docstrings(2).has_more


def test_a_python_without_docstrings_is_told(monkeypatch):
    monkeypatch.setattr(texts, "MODULES", ("runtime.errors", "keyword"))
    monkeypatch.setattr("keyword.__doc__", None)

    with pytest.raises(ValidationError, match="module keyword has no docstring; run without python -OO"):
        docstrings(2)


def test_files_and_folders_are_read_in_order_without_what_is_hidden(tmp_path):
    for name, text in (("b/two.md", "two"), ("b/a/one.txt", "one"), ("b/.git/no.txt", "no"), ("a.txt", "first")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_texts([tmp_path / "a.txt", tmp_path / "b"], 12)

    assert found.texts == [
        Text(name="a.txt", text="first"),
        Text(name="a/one.txt", text="one"),
        Text(name="two.md", text="two"),
    ]
    assert (found.skipped, found.has_more) == ([], False)


def test_what_is_no_text_in_a_folder_is_skipped_and_told(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe")
    (tmp_path / "b.txt").write_text(" \n")
    (tmp_path / "c.txt").write_text("text")
    (tmp_path / "d.dat").write_bytes(b"a\0b")
    found = read_texts([tmp_path], 12)

    assert found.texts == [Text(name="c.txt", text="text")]
    assert found.skipped == [
        f"{tmp_path}/a.bin: is not UTF-8 text",
        f"{tmp_path}/b.txt: is empty",
        f"{tmp_path}/d.dat: is binary",
    ]


def test_all_that_is_wrong_with_named_paths_is_listed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary").write_bytes(b"\x80")
    (tmp_path / "good.txt").write_text("good")
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(MAX_FILE_BYTES * 3 // 2)
    os.mkfifo(tmp_path / "pipe")
    names = ("missing.txt", "good.txt", "empty.txt", "binary", "huge.txt", "pipe", "folder")

    with pytest.raises(ValidationError) as caught:
        read_texts([tmp_path / name for name in names], 12)
    assert caught.value.problems == [
        f"{tmp_path}/missing.txt: cannot be read (No such file or directory)",
        f"{tmp_path}/empty.txt: is empty",
        f"{tmp_path}/binary: is not UTF-8 text",
        f"{tmp_path}/huge.txt: has 1.5 MiB; 1 MiB is the most",
        f"{tmp_path}/pipe: is no regular file",
        f"{tmp_path}/folder: there is no text file in this folder",
    ]
    assert str(caught.value) == f"the input cannot be used: {'; '.join(caught.value.problems)}"


def test_the_limit_leaves_files_out_and_says_so(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)

    two, three = read_texts([tmp_path], 2), read_texts([tmp_path], 3)

    assert ([text.name for text in two.texts], two.has_more) == (["a.txt", "b.txt"], True)
    assert (len(three.texts), three.has_more) == (3, False)


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.txt").write_text(folder)
    found = read_texts([tmp_path / "x" / "same.txt", tmp_path / "y" / "same.txt"], 12)

    assert [text.name for text in found.texts] == ["same.txt", f"{tmp_path}/y/same.txt"]
