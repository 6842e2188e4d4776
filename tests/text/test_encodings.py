"""The text of a file in the encodings that people's files have."""

import gzip
import random
import zipfile
from io import BytesIO

import pytest

from tlab.text.encodings import decode_text

TEXTS = {
    "English": "The café is naïve, and a “quoted” word isn’t one.\n" * 5,
    "German": "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du kaum einen Hauch.\n" * 3,
    "code": "def f(x):\n    return x + 1  # é\n" * 3,
}


def zipped():
    into = BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("a.txt", "a text")
    return into.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_is_found_in_the_bytes_of_any_usual_encoding(text, encoding):
    assert decode_text(text.encode(encoding)).text == text


def test_a_text_in_latin_1_is_found():
    assert decode_text(TEXTS["German"].encode("latin-1")).text == TEXTS["German"]


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis"])
def test_other_scripts_in_their_old_encodings_are_found(encoding):
    text = {
        "cp1251": "Все счастливые семьи похожи друг на друга.\n",
        "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    }
    assert decode_text(text[encoding].encode(encoding) * 3).text == text[encoding] * 3


def test_plain_letters_are_called_utf_8():
    assert decode_text(b"plain letters") == ("plain letters", "UTF-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"text"), r"is packed \(gzip\); unpack it first"),
        (zipped(), r"is packed \(zip\); unpack it first"),
        (b"%PDF-1.7\n" + b"text " * 99, "is a PDF; save it as plain text"),
        (b"ab\0cd", "contains null bytes, so it is not text"),
        (random.Random(0).randbytes(3000), "is not text in any known encoding"),
        (b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(3000), "is not text in any known encoding"),
    ],
    ids=["gzip", "zip", "pdf", "null", "noise", "picture"],
)
def test_what_is_no_text_is_refused_in_words(content, words):
    with pytest.raises(ValueError, match=words):
        decode_text(content)
