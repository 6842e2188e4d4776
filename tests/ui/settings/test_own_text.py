"""A visitor's own text: what is taken from a file, and what its card says."""

import math
import random

import pytest

from support import GRADIO
from tlab.text import CORPORA
from tlab.text.tokenizers import utf8
from tlab.ui.runs import manager
from tlab.ui.runs.manager import own_corpus
from tlab.ui.settings import own_text
from tlab.ui.settings.controls import corpus_choices
from tlab.ui.settings.own_text import OWN_TEXT, read_file, source_of, source_words, text_card
from tlab.ui.settings.presets import DEMO_PRESET, preset_job

pytestmark = GRADIO

WORDS = "It was a bright cold day in April, and the clocks were striking thirteen. "


def varied(count, seed=0):
    """A text without a passage that comes twice."""
    return "".join(random.Random(seed).choices("abcdefgh \n", k=count))


def card_of(text, context_length=8, source=None, **given):
    return text_card(OWN_TEXT, "char", context_length, text, source, **given)


@pytest.mark.parametrize("name", ["a.py", "a.md", "a.csv", "a.fasta", "a.json", "no-ending"])
def test_a_text_file_of_any_name_is_read_as_it_was_written(tmp_path, name):
    (tmp_path / name).write_bytes("\ufeffé line\r\nand 日本".encode())
    text, source = read_file(tmp_path / name, 100)
    assert (text, source.words) == ("é line\nand 日本", f"{name}, read as UTF-8")


def test_of_a_text_that_is_too_long_the_beginning_is_taken_with_a_word(tmp_path):
    (tmp_path / "long.txt").write_text("ab" * 1000)
    text, source = read_file(tmp_path / "long.txt", 100)
    assert text == "ab" * 50
    assert source.words.endswith("the first 100 of its 2,000 characters")


def test_a_file_that_is_no_text_is_refused_by_its_name(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"ab\0cd")
    with pytest.raises(ValueError, match=r"photo\.png contains null bytes"):
        read_file(tmp_path / "photo.png", 100)


@pytest.mark.parametrize("content", [b"", b" \r\n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused_and_takes_no_text_away(tmp_path, content):
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"^empty\.txt is empty\.$"):
        read_file(tmp_path / "empty.txt", 100)


REPEATED = "a line of a log that is written again and again\n"


@pytest.mark.parametrize(
    ("text", "is_copied"),
    [(REPEATED * 5, True), (REPEATED * 5 + "!", False), (REPEATED * 2 + varied(200), False), ("abcdef " * 15, False)],
    ids=["one line five times", "its end is new", "only its beginning is repeated", "too short to tell"],
)
def test_a_short_text_whose_end_stands_before_is_said_to_repeat_itself(text, is_copied):
    assert ("the whole of its validation part stands in training word for word" in card_of(text)) == is_copied


def test_the_card_names_the_file_until_another_text_is_in_the_box(tmp_path):
    (tmp_path / "mine.txt").write_text(varied(500))
    text, source = read_file(tmp_path / "mine.txt", 1000)
    assert "mine.txt" in card_of(text, source=source)
    assert "mine.txt" not in card_of(text + "!", source=source)


def test_after_a_refusal_the_card_says_whose_text_is_in_use(tmp_path):
    (tmp_path / "mine.txt").write_text(varied(500))
    text, source = read_file(tmp_path / "mine.txt", 1000)
    assert "photo.png is no text. Still in use: mine.txt" in card_of(
        text, source=source, refusal="photo.png is no text."
    )


def test_the_card_says_what_there_is_to_beat():
    card = card_of("ab" * 500)
    assert f"uniform guess <b>{math.log(2):.2f}</b>" in card
    assert "token pairs <b>0.0" in card  # b follows a, always


def test_the_card_counts_characters_vocabulary_and_split():
    text = varied(1000)
    card = card_of(text)
    for fact in ("1,000", f"{len(set(text))} tokens", "900 tokens to train, 100 to validate"):
        assert f"<dd>{fact}</dd>" in card


@pytest.mark.parametrize(("text", "warns"), [(WORDS * 40, True), ("ab" * 100, True), (varied(2000), False)])
def test_a_text_that_repeats_itself_is_called_so(text, warns):
    assert ("This text repeats itself" in card_of(text)) == warns


@pytest.mark.parametrize("context_length", [8, 17, 32, 90, 256])
@pytest.mark.parametrize("tokenizer", ["char", "byte"])  # of others the text decides what a token is
def test_a_text_too_short_for_the_context_is_told_the_number_of_characters_that_it_takes(tokenizer, context_length):
    with pytest.raises(ValueError, match="give ") as caught:
        own_corpus(varied(context_length + 1)[: context_length + 1], tokenizer, context_length)
    needed = int(str(caught.value).split("give ")[1].split()[0])
    own_corpus(varied(needed), tokenizer, context_length)
    with pytest.raises(ValueError, match="give "):
        own_corpus(varied(needed - 1), tokenizer, context_length)
    assert str(caught.value).split("give ")[0] in card_of(varied(context_length + 1), context_length).replace(
        "&#39;", "'"
    )


def test_of_a_text_whose_tokens_are_learned_it_is_told_about_how_many_characters_it_takes():
    with pytest.raises(ValueError, match="give about "):
        own_corpus(varied(100), "bpe-512", 90)
    own_corpus(varied(5000), "bpe-512", 90)


def test_the_card_says_at_once_that_a_text_is_too_short():
    assert "Your text has 33 characters, too few for a context length of 32: give 36" in card_of(varied(33), 32)


def test_an_empty_box_asks_for_a_text_and_is_no_fault():
    card = card_of("")
    assert "choose a file, or paste one" in card and "tl-warning" not in card


def test_letters_of_many_bytes_count_as_what_they_take():
    own_corpus("日本" * 12, "byte", 32)  # 24 characters of three bytes
    assert len(utf8("日本" * 12)) > 32


def test_what_a_visitor_calls_a_file_is_shown_as_text(tmp_path):
    (tmp_path / "<b>x.txt").write_text(varied(500))
    text, source = read_file(tmp_path / "<b>x.txt", 1000)
    assert "<b>x.txt" not in card_of(text, source=source)


def test_a_text_that_needs_a_download_is_marked_and_not_fetched_for_the_card(monkeypatch):
    monkeypatch.setattr(CORPORA["names"], "is_here", lambda: False)
    monkeypatch.setattr(own_text, "load_corpus", lambda *given: pytest.fail("asked the network"))
    labels = {key: label for label, key in corpus_choices()}
    assert "needs a download" in labels["names"] and "download" not in labels["python-docs"]
    assert "a run downloads it when it starts" in text_card("names", "char", 32, "", None)


def test_the_visitors_own_text_is_the_first_of_the_list():
    assert corpus_choices()[0][1] == OWN_TEXT


def test_the_name_of_a_file_comes_back_from_what_a_browser_keeps_of_it(tmp_path):
    file = tmp_path / "my own  text.txt"
    file.write_text(varied(500))
    text, source = read_file(file, 1000)
    assert source_of(source_words(source)) == source
    assert "my own  text.txt" in card_of(text, source=source_of(source_words(source)))


@pytest.mark.parametrize("line", [None, "", "one", " ", "x" * 10_000])
def test_of_anything_else_no_file_is_known(line):
    assert source_of(line) is None


def test_the_size_of_an_own_text_is_read_once_and_the_text_is_not_kept_for_it(monkeypatch):
    read, tokenizer_of = [], manager.tokenizer_of
    monkeypatch.setattr(manager, "tokenizer_of", lambda *given: read.append(given) or tokenizer_of(*given))
    text = "a secret of mine, told once " * 50
    job = preset_job(DEMO_PRESET)._replace(text=text, tokenizer="char")
    assert [manager.text_size(job) for _ in range(3)] == [(len(set(text)), len(text) // 10)] * 3
    assert len(read) == 1
    assert not any(text in part for key in manager.KNOWN_SIZES.entries for part in key)
