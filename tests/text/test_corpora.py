"""What every corpus promises, where texts are looked for, and what each made text is there to show.

Nothing is downloaded here: the real files are read where they are, and the download is played by a stand-in.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from support import TASKS
from tlab.registry import UnknownKeyError
from tlab.text import (
    CORPORA,
    DEFAULT_CORPUS,
    TOKENIZERS,
    CorpusError,
    UnknownCharacterError,
    corpora,
    corpus_from_text,
    corpus_names,
    load_corpus,
)
from tlab.text.corpora import first_cause

OFFLINE = [key for key, source in CORPORA.items() if source.offline]
DOWNLOADS = [key for key, source in CORPORA.items() if issubclass(source, corpora.Download)]
TEXT = "".join(f"line {i}: é\n" for i in range(100))


def test_every_text_but_a_download_is_there_without_network():
    assert sorted(OFFLINE + DOWNLOADS) == sorted(CORPORA) and set(TASKS) <= set(OFFLINE)


def require_file(key):
    """Skip where the real file of a corpus is in no data folder."""
    name = getattr(CORPORA[key], "file_name", None)
    if name and not any((folder / name).is_file() for folder in corpora.data_folders()):
        pytest.skip(f"{name} is in no data folder and tests do not download; set TLAB_DATA_DIR to run this")


@pytest.fixture(params=list(CORPORA))
def key(request):
    """Each registered corpus that can be had here."""
    require_file(request.param)
    return request.param


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make an empty data folder the only one there is."""
    monkeypatch.setattr(corpora, "data_folders", lambda: [tmp_path])
    return tmp_path


# ------------------------------------------------------------------------------------------- every corpus


def test_the_text_is_the_same_on_every_call(key):
    assert CORPORA[key]().text() == CORPORA[key]().text()


def test_the_two_parts_add_up_to_the_text_and_the_last_tenth_is_validation(key):
    corpus, text = load_corpus(key), CORPORA[key]().text()
    assert corpus.tokenizer.decode(np.concatenate([corpus.train, corpus.validation])) == text
    assert len(corpus.validation) == len(text) // 10


def test_sha256_and_size_are_those_of_the_text(key):
    corpus, text = load_corpus(key), CORPORA[key]().text()
    assert (corpus.sha256, corpus.size) == (hashlib.sha256(text.encode()).hexdigest(), len(text))


def test_a_corpus_describes_itself_for_the_record(key):
    description = json.loads(json.dumps(load_corpus(key).describe()))
    assert description["name"] == key
    assert set(description) == {"name", "sha256", "size", "licence", "origin", "tokenizer", "bytes_per_token"}
    assert all(description.values())


def test_ids_are_int32_and_cannot_be_overwritten(key):
    corpus = load_corpus(key)
    for ids in (corpus.train, corpus.validation):
        assert ids.dtype == np.int32 and not ids.flags.writeable


@pytest.mark.parametrize("key", list(CORPORA))
def test_the_readme_of_the_data_folder_tells_of_every_corpus(key):
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    assert f"| `{key}`" in readme and CORPORA[key].licence.split(";")[0] in readme
    assert getattr(CORPORA[key], "sha256", "") in readme


def test_the_default_corpus_needs_neither_network_nor_files(folder, monkeypatch):
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: pytest.fail("asked the network"))
    assert load_corpus(DEFAULT_CORPUS).size > 400_000


# ------------------------------------------------------------------------------------------- given text


def test_every_tokenizer_gets_the_same_two_texts():
    for tokenizer in TOKENIZERS:
        corpus = corpus_from_text(TEXT, tokenizer=tokenizer)
        assert corpus.tokenizer.decode(corpus.validation) == TEXT[-(len(TEXT) // 10) :]


def test_a_given_tokenizer_is_used_as_it_is():
    tokenizer = load_corpus("python-docs").tokenizer
    assert corpus_from_text("print(1)\n" * 10, tokenizer=tokenizer).tokenizer is tokenizer


def test_a_given_tokenizer_that_lacks_characters_is_an_error():
    with pytest.raises(UnknownCharacterError, match=r"'x' \(U\+0078\)"):
        corpus_from_text("1+1=x\n" * 10, tokenizer=load_corpus("addition").tokenizer)


@pytest.mark.parametrize(("text", "given"), [("", "is empty"), ("a" * 19, "has 19 characters")])
def test_a_text_too_short_to_split_is_an_error_with_the_minimum(text, given):
    with pytest.raises(CorpusError, match=rf"'mine' {given}; allowed are 20 or more"):
        corpus_from_text(text, name="mine")


def test_the_shortest_text_allowed_has_an_input_and_a_target_for_validation():
    assert len(corpus_from_text("a" * 20).validation) == 2


def test_an_unknown_tokenizer_is_an_error_with_those_there_are():
    with pytest.raises(UnknownKeyError, match="allowed: char, byte"):
        corpus_from_text(TEXT, tokenizer="words")


# ------------------------------------------------------------------------------------------- files


def test_data_folders_are_the_named_one_then_the_repositorys_then_the_current_ones(monkeypatch):
    monkeypatch.setenv("TLAB_DATA_DIR", "somewhere")
    repository = Path(corpora.__file__).resolve().parents[2]
    assert corpora.data_folders() == [Path("somewhere"), repository / "data", Path("data")]


def test_a_text_file_is_a_corpus_by_its_path(tmp_path):
    path = tmp_path / "mine.text"
    path.write_text(TEXT, encoding="utf-8", newline="")
    for given in (path, str(path)):
        corpus = load_corpus(given)
        assert (corpus.name, corpus.size) == ("mine", len(TEXT))


def test_a_record_does_not_tell_in_which_folder_a_file_was(tmp_path):
    (tmp_path / "mine.txt").write_text(TEXT, encoding="utf-8")
    assert str(tmp_path) not in json.dumps(load_corpus(tmp_path / "mine.txt").describe())


def test_a_text_file_in_a_data_folder_is_a_corpus_by_its_stem(folder):
    (folder / "mine.txt").write_text(TEXT, encoding="utf-8")
    assert load_corpus("mine").size == len(TEXT)
    assert corpus_names() == (*CORPORA, "mine")


def test_the_file_of_a_registered_corpus_is_not_offered_twice(folder):
    (folder / "tinyshakespeare.txt").write_text(TEXT, encoding="utf-8")
    assert corpus_names() == tuple(CORPORA)


def test_line_ends_and_byte_order_mark_of_other_systems_are_not_part_of_the_text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load_corpus(path).sha256 == corpus_from_text(TEXT).sha256


def test_a_file_that_is_not_utf8_is_an_error_with_the_offset(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xe9 ol\xe9")
    with pytest.raises(CorpusError, match=r"latin\.txt is not UTF-8: byte 0xe9 at offset 6"):
        load_corpus(path)


def test_an_unknown_name_is_an_error_with_all_that_is_allowed(folder):
    (folder / "mine.txt").write_text(TEXT, encoding="utf-8")
    with pytest.raises(UnknownKeyError) as caught:
        load_corpus("shakespear")
    message = str(caught.value)
    assert all(name in message for name in corpus_names()) and "path" in message and "Did you mean" in message


# ------------------------------------------------------------------------------------------- downloads


@pytest.mark.parametrize("key", DOWNLOADS)
def test_a_file_in_a_data_folder_is_not_downloaded(key, monkeypatch):
    require_file(key)
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: pytest.fail("asked the network"))
    assert load_corpus(key).size > 200_000


@pytest.mark.parametrize("key", DOWNLOADS)
def test_a_download_names_a_commit_and_the_sha256(key, folder, monkeypatch):
    asked = []
    (folder / "cached").write_text(TEXT, encoding="utf-8", newline="")
    monkeypatch.setattr(CORPORA[key], "sha256", hashlib.sha256(TEXT.encode()).hexdigest())
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: asked.append(args) or str(folder / "cached"))
    assert load_corpus(key).size == len(TEXT)
    ((url, known_hash),) = asked
    assert re.search(r"/[0-9a-f]{40}/", url) and known_hash == f"sha256:{CORPORA[key].sha256}"


@pytest.mark.parametrize("place", ["data folder", "cache"])
@pytest.mark.parametrize("key", DOWNLOADS)
def test_a_wrong_sha256_is_an_error_with_both_and_the_path(key, place, folder, monkeypatch):
    path = folder / (CORPORA[key].file_name if place == "data folder" else "cached")
    path.write_text(TEXT, encoding="utf-8", newline="")
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: str(path))
    with pytest.raises(CorpusError) as caught:
        load_corpus(key)
    found = hashlib.sha256(TEXT.encode()).hexdigest()
    assert all(part in str(caught.value) for part in (str(path), found, CORPORA[key].sha256))


@pytest.mark.parametrize("failure", [OSError("no route"), ValueError("hash of downloaded file"), ImportError("pooch")])
def test_a_failed_download_is_an_error_with_the_corpora_that_work_offline(failure, folder, monkeypatch):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(CorpusError) as caught:
        load_corpus("shakespeare")
    assert str(failure) in str(caught.value) and ", ".join(OFFLINE) in str(caught.value)
    assert set(OFFLINE).isdisjoint(DOWNLOADS)


def test_a_failed_download_keeps_the_place_of_the_cache_to_itself(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "/home/somebody/.cache/tlab")

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(CorpusError, match="Permission denied") as caught:
        load_corpus("shakespeare")
    assert "somebody" not in str(caught.value)


def test_names_are_shuffled_so_that_both_parts_are_alike():
    require_file("names")
    names = CORPORA["names"]().text().splitlines()
    popular = {
        "emma",
        "olivia",
        "ava",
        "zyrie",
        "zyron",
        "zzyzx",
    }  # the first three of the file and the last three
    assert len(names) == 32_033 and popular <= set(names)
    middle = np.mean([names.index(name) for name in popular])
    assert names[0] != "emma" and names[-1] != "zzyzx" and 3_000 < middle < 29_000


# ------------------------------------------------------------------------------------------- made texts


SHORT = {"parity": 8190, "modular": 59**2}  # lines of those that have no more questions


@pytest.mark.parametrize("key", TASKS)
def test_made_texts_are_about_200_000_characters_of_whole_lines_or_all_that_can_be_asked(key):
    text = CORPORA[key]().text()
    whole = text.count("\n") == SHORT[key] if key in SHORT else 190_000 < len(text) < 210_000
    assert whole and text.endswith("\n") and "\n\n" not in text


@pytest.mark.parametrize("key", TASKS)
def test_another_seed_makes_another_text(key):
    assert CORPORA[key](seed=1).text() == CORPORA[key](seed=1).text() != CORPORA[key](seed=0).text()


def test_repeat_writes_each_block_twice_and_no_letter_twice_in_a_block():
    for line in CORPORA["repeat"]().text().splitlines():
        first, second = line.split(" ")
        assert first == second and len(set(first)) == len(first) and first.isalpha()


def test_repeat_cannot_be_solved_by_counting_back():
    lengths = {len(line) for line in CORPORA["repeat"]().text().splitlines()}
    assert len(lengths) == 9 and max(lengths) < 64


def test_repeat_has_a_first_copy_of_even_chances():
    letters, counts = np.unique([line[0] for line in CORPORA["repeat"]().text().splitlines()], return_counts=True)
    expected = counts.sum() / 26
    assert len(letters) == 26 and np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_addition_adds_up_and_never_asks_twice():
    lines = CORPORA["addition"]().text().splitlines()
    for line in lines:
        first, second, total = map(int, re.fullmatch(r"(\d+)\+(\d+)=(\d+)", line).groups())
        assert first + second == total
    assert len(set(lines)) == len(lines)


def test_brackets_are_balanced_on_every_line_and_of_every_kind():
    text = CORPORA["brackets"]().text()
    assert set(text) == set("()[]{}<>\n")
    for line in text.splitlines():
        before = None
        while line != before:
            before, line = line, re.sub(r"\(\)|\[\]|\{\}|<>", "", line)
        assert line == ""


def test_brackets_nest_deeply_and_still_fit_a_context():
    lines = CORPORA["brackets"]().text().splitlines()
    assert max(map(len, lines)) < 64 and any(re.search(r"[(\[{<]{8}", line) for line in lines)


@pytest.mark.parametrize(
    ("key", "sha256"),
    [
        ("repeat", "96d44208d1cab52c08dcdf6e028c85ce5f5d5c601e0f7c1004b5d33e4acbc57a"),
        ("addition", "424838429d021127b8954e3d0108399b983eb0f1a99d6f11333c1964aae91fe0"),
        ("brackets", "e65367cff8f5e414081899cf17f9a962b6a34ab2ab4c72ba1891101daa5f1b8f"),
        ("copy", "6424c9fd303b9f0be22023c2ff169985ebf1cd1bf9be0be913cc2761cb632445"),
        ("reverse", "b22c0d264a7058658115aaa9cd039733970b628f28788f49da490a79d7d34eee"),
        ("sort", "1281d0490d62d65f6de952e0631e12dc12b70f0e7f3a657d457c85f54592ec8b"),
        ("parity", "af303ceb4d1ceb5ba83ce5a3d4cd4996e4e58872aa1c6454fda7ed6b58b4d2ca"),
        ("modular", "729a620e80cdf83a466b52eec54905687611e3910db6c3c877e522b46553ff27"),
    ],
)
def test_a_text_that_is_made_here_is_the_same_in_every_release(key, sha256):
    assert hashlib.sha256(CORPORA[key]().text().encode()).hexdigest() == sha256


def test_what_began_a_failure_is_found_behind_all_that_was_tried_then():
    began, tried, told = OSError("no such host"), ValueError("tried again"), RuntimeError("gave up")
    told.__cause__ = tried
    tried.__context__ = began
    assert first_cause(told) is began and first_cause(began) is began


def test_a_python_without_its_documentation_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CorpusError, match=r"came without its documentation .* or choose another corpus"):
        load_corpus("python-docs")
