"""Text files as they come: packed, half-encoded, from other systems, folders, pipes; each is read or told in words."""

import bz2
import gzip
import lzma
import os
import threading
import zipfile
from pathlib import Path

import pytest

from tlab.registry import UnknownKeyError
from tlab.text import CorpusError, corpus_from_text, corpus_names, load_corpus
from tlab.text.corpora import Names, read_text

TEXT = "the quick brown fox jumps over the lazy dog\n\n" * 9


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TLAB_DATA_DIR", raising=False)


def message_of(name):
    with pytest.raises(CorpusError) as caught:
        load_corpus(name)
    return str(caught.value)


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\r\r\n"], ids=ascii)
def test_line_ends_of_every_system_are_those_of_this_one(line_end):
    Path("mine.txt").write_bytes(TEXT.replace("\n", line_end).encode())
    assert load_corpus("mine.txt").sha256 == corpus_from_text(TEXT).sha256


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_in_utf_16_without_its_mark_is_not_trained_on(encoding):
    Path("mine.txt").write_bytes(TEXT.encode(encoding))
    assert "null bytes" in message_of("mine.txt")


def test_one_character_over_and_over_is_told_in_words():
    Path("mine.txt").write_text("a" * 3000)
    assert "only one character, over and over" in message_of("mine.txt")


def test_a_folder_is_called_one():
    Path("folder").mkdir()
    assert "folder is a folder; name a text file in it" in message_of("folder")


def test_a_folder_does_not_hide_the_text_of_the_same_name():
    Path("mine").mkdir()
    Path("data").mkdir()
    Path("data/mine.txt").write_text(TEXT)
    assert load_corpus("mine").size == len(TEXT)


def test_a_loop_of_links_cannot_be_read():
    os.symlink("b.txt", "a.txt")
    os.symlink("a.txt", "b.txt")
    assert "a.txt cannot be read" in message_of("a.txt")


def test_what_can_no_longer_be_read_when_it_is_opened_is_told_with_the_systems_reason():
    Path("folder").mkdir()
    with pytest.raises(CorpusError, match="folder cannot be read: Is a directory; allowed is a readable text file"):
        read_text(Path("folder"))


def test_a_packed_file_is_to_be_unpacked():
    Path("mine.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    with zipfile.ZipFile("mine.zip", "w") as archive:
        archive.writestr("mine.txt", TEXT)
    assert "is packed (gzip); unpack it first" in message_of("mine.txt.gz")
    assert "is packed (zip); unpack it first" in message_of("mine.zip")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (bz2.compress(TEXT.encode()), "packed (bzip2); unpack it first"),
        (lzma.compress(TEXT.encode()), "packed (xz); unpack it first"),
        (b"%PDF-1.7\n" + TEXT.encode(), "a PDF; save it as plain text"),
        (b"{\\rtf1\\ansi " + TEXT.encode(), "a document in Rich Text Format; save it as plain text"),
    ],
    ids=["bzip2", "xz", "pdf", "rtf"],
)
def test_a_file_that_is_no_plain_text_is_called_what_it_is(content, told):
    Path("mine.txt").write_bytes(content)
    assert f"mine.txt is {told}" in message_of("mine.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_read():
    os.mkfifo("pipe")
    writing = threading.Thread(target=Path("pipe").write_text, args=(TEXT,))
    writing.start()
    assert load_corpus("pipe").size == len(TEXT)
    writing.join()


@pytest.mark.parametrize("name", ["nothing.txt", "mine.txt/below", "a\0b"], ids=ascii)
def test_what_is_not_there_is_unknown(name):
    Path("mine.txt").write_text(TEXT)
    with pytest.raises(UnknownKeyError, match="unknown corpus"):
        load_corpus(name)


def test_a_text_of_ones_own_that_has_the_name_of_a_download_is_not_to_be_removed():
    Path("data").mkdir()
    Path("data/names.txt").write_text("mine\n" * 100)
    assert "call it otherwise if it is a text of your own" in message_of("names")


def test_a_data_folder_that_may_not_be_read_is_passed_over(monkeypatch, tmp_path):
    locked, cached = tmp_path / "locked", tmp_path / "cached.txt"
    cached.write_text(TEXT)

    def stat(path, *args, real=os.stat, **kwargs):
        if str(path).startswith(str(locked)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setenv("TLAB_DATA_DIR", str(locked))
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(Names, "download", lambda self: cached)
    monkeypatch.setattr(Names, "sha256", corpus_from_text(TEXT).sha256)
    assert load_corpus("names").size == len(TEXT)
    assert "names" in corpus_names()
