"""What every tokenizer promises, then what each of them does."""

import json
import sys

import numpy as np
import pytest

from tlab.registry import UnknownKeyError
from tlab.text import (
    TOKENIZERS,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    UnknownCharacterError,
    default_prompt,
    tokenizer_from_json,
)
from tlab.text.tokenizers import SHOWN_ALPHABET

TEXT = "Two roads,\n\ta naïve café 日本 🙂\x00\r\n"


@pytest.fixture(params=list(TOKENIZERS))
def tokenizer(request):
    """Each registered tokenizer, made from TEXT."""
    return TOKENIZERS[request.param].from_text(TEXT)


def test_decode_undoes_encode(tokenizer):
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_ids_are_one_row_of_int32(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32 and ids.ndim == 1


def test_ids_lie_below_the_vocabulary_size(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert ids.min() >= 0 and ids.max() < tokenizer.vocab_size


def test_the_empty_text_is_no_ids_and_back(tokenizer):
    ids = tokenizer.encode("")
    assert (ids.shape, ids.dtype, tokenizer.decode(ids), tokenizer.decode([])) == ((0,), np.int32, "", "")


def test_every_id_has_a_token_that_can_be_seen(tokenizer):
    assert len(tokenizer.tokens) == tokenizer.vocab_size
    assert all(token and token.isprintable() and not token.isspace() for token in tokenizer.tokens)


def test_a_streams_pieces_add_up_to_decode(tokenizer):
    ids = np.random.default_rng(0).integers(tokenizer.vocab_size, size=500)  # as bytes, mostly no text at all
    stream = tokenizer.stream()
    assert "".join([*map(stream, ids), stream.finish()]) == tokenizer.decode(ids)


def test_a_tokenizer_without_a_stream_of_its_own_decodes_id_by_id():
    class Words(Tokenizer):
        """Knows two words."""

        def decode(self, ids):
            return "".join(("to", "be")[i] for i in ids)

    stream = Words().stream()
    assert (stream(0), stream(1), stream.finish()) == ("to", "be", "")


def test_json_round_trips_exactly(tokenizer):
    data = json.loads(json.dumps(tokenizer.to_json()))
    again = tokenizer_from_json(data)
    assert again == tokenizer and hash(again) == hash(tokenizer) and again.to_json() == data


def test_ids_out_of_range_are_named_with_the_range(tokenizer):
    for bad in (-1, tokenizer.vocab_size):
        message = f"id {bad} is out of range; allowed are 0 to {tokenizer.vocab_size - 1}:"
        for decode in (tokenizer.decode, lambda ids: tokenizer.stream()(ids[0])):
            with pytest.raises(ValueError, match=message):
                decode([bad])


def test_ids_that_are_no_whole_numbers_are_refused(tokenizer):
    with pytest.raises(ValueError, match="float64; allowed are integers"):
        tokenizer.decode([0.5, 1.0])


def test_a_batch_of_ids_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"shape \(2, 3\); allowed is one row"):
        tokenizer.decode(np.zeros((2, 3), dtype=int))


def test_tokenizers_of_different_texts_or_kinds_differ():
    assert CharTokenizer.from_text("abc") == CharTokenizer.from_text("cabba")
    assert CharTokenizer.from_text("abc") != CharTokenizer.from_text("abd")
    assert CharTokenizer.from_text("abc") != ByteTokenizer()
    assert ByteTokenizer.from_text("a") == ByteTokenizer.from_text("b")


def test_char_ids_follow_the_code_points():
    tokenizer = CharTokenizer.from_text("ba🙂a\n")
    assert tokenizer.encode("\nab🙂").tolist() == [0, 1, 2, 3]
    assert tokenizer.tokens == ("↵", "a", "b", "🙂")


@pytest.mark.parametrize("kind", [CharTokenizer, ByteTokenizer])
def test_the_librarys_tokenizer_has_the_same_ids_and_gives_the_text_back(kind):
    text = "naïve\n  b🙂b"
    tokenizer = kind.from_text(text)
    library = tokenizer.as_library()
    ids = tokenizer.encode(text).tolist()
    assert library.encode(text).ids == ids and library.decode(ids) == text


def test_what_cannot_be_seen_is_shown_as_python_writes_it():
    assert CharTokenizer.from_text("\t\x00\xad a'").tokens == ("U+0000", "U+0009", "␣", "'", "a", "U+00AD")
    shown = {0: "\\x00", 9: "\\t", 10: "↵", 32: "␣", 65: "A", 126: "~", 127: "\\x7f", 128: "\\x80", 255: "\\xff"}
    assert {byte: ByteTokenizer.tokens[byte] for byte in shown} == shown
    assert ByteTokenizer.tokens[0xE9] == "\\xe9"  # half of a character in UTF-8, and not the é of Latin-1


@pytest.mark.parametrize("unknown", ["\n", "c", "é", "🙂", "\U0010ffff", "\ud800"])
def test_char_names_the_characters_it_does_not_know(unknown):
    with pytest.raises(UnknownCharacterError) as caught:
        CharTokenizer.from_text("abd").encode("ab" + unknown)
    message = str(caught.value)
    assert f"{unknown!r} (U+{ord(unknown):04X})" in message and "'abd'" in message


def test_char_names_only_the_first_few_of_many_unknown_characters():
    with pytest.raises(UnknownCharacterError, match=r"'e' \(U\+0065\) and 21 more;"):
        CharTokenizer.from_text("0").encode("abcdefghijklmnopqrstuvwxyz")


def test_char_encodes_any_number_of_characters_without_a_loop_over_them():
    text = "To be, or not to be: that is the question.\n"
    tokenizer = CharTokenizer.from_text(text)

    def lines_run(repeated: int) -> int:
        lines = []

        def trace(frame, event, argument):
            lines.append(event)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            tokenizer.encode(text * repeated)
        finally:
            sys.settrace(before)
        return len(lines)

    assert 0 < lines_run(1000) == lines_run(1) < 100


@pytest.mark.parametrize("alphabet", ["", "ba", "aab"])
def test_char_refuses_an_alphabet_that_does_not_number_its_characters(alphabet):
    with pytest.raises(ValueError, match=r"alphabet.*allowed"):
        CharTokenizer(alphabet)


def test_char_names_all_of_five_unknown_characters():
    with pytest.raises(UnknownCharacterError, match=r"'e' \(U\+0065\); allowed"):
        CharTokenizer.from_text("0").encode("abcde0")


def test_half_a_surrogate_pair_is_refused_because_json_could_not_keep_it():
    for give in (CharTokenizer.from_text, ByteTokenizer().encode):
        with pytest.raises(UnknownCharacterError, match=r"character 2 of the text is '\\ud83d'"):
            give("\x00\x01\ud83d")


def test_byte_ids_are_the_utf8_bytes():
    assert ByteTokenizer().vocab_size == 256
    assert ByteTokenizer().encode("aé").tolist() == [97, 0xC3, 0xA9]


def test_byte_stream_holds_a_character_back_until_it_is_whole():
    stream = ByteTokenizer().stream()
    assert [stream(i) for i in "a🙂".encode()] == ["a", "", "", "", "🙂"]


def test_byte_stream_finishes_a_broken_character_with_a_mark():
    stream = ByteTokenizer().stream()
    assert (stream(0xF0), stream.finish(), stream(97)) == ("", "�", "a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "describes no tokenizer"),
        ({}, "describes no tokenizer"),
        ({"tokenizer": "char"}, "damaged.*alphabet"),
        ({"tokenizer": "char", "alphabet": ["a"]}, "damaged.*allowed is a text"),
        ({"tokenizer": "char", "alphabet": "ba"}, "damaged.*out of order"),
        ({"tokenizer": "char", "alphabet": "ab", "extra": 1}, "damaged.*extra"),
        ({"tokenizer": "byte", "alphabet": "ab"}, "damaged.*"),
    ],
)
def test_damaged_json_is_refused_with_its_reason(data, message):
    with pytest.raises(ValueError, match=message):
        tokenizer_from_json(data)


@pytest.mark.parametrize("key", ["no such tokenizer", ["char"]])
def test_json_of_an_unknown_tokenizer_says_which_are_known(key):
    with pytest.raises(UnknownKeyError, match="allowed: char, byte"):
        tokenizer_from_json({"tokenizer": key})


def test_an_alphabet_is_cut_short_only_where_it_is_too_long_to_be_read():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + SHOWN_ALPHABET + 1)))
    whole, longer = CharTokenizer(letters[:-1]), CharTokenizer(letters)
    assert f"these {SHOWN_ALPHABET}: {letters[:-1]!r}. " in whole.explain({"x"})
    assert f"these {SHOWN_ALPHABET + 1}: {letters[:-1]!r} .... " in longer.explain({"x"})


def test_a_text_begins_at_a_lines_end_or_where_there_are_no_lines_at_its_first_character():
    assert default_prompt(CharTokenizer.from_text("to be\nor not")) == default_prompt(ByteTokenizer()) == "\n"
    assert default_prompt(CharTokenizer.from_text("cab")) == "a"


def test_the_words_on_unknown_characters_list_five_and_an_alphabet_up_to_its_limit():
    alphabet = "".join(chr(0x4E00 + i) for i in range(SHOWN_ALPHABET))
    whole, longer = (CharTokenizer(alphabet + more) for more in ("", "\u9fff"))
    for tokenizer, ends in ((whole, False), (longer, True)):
        with pytest.raises(ValueError, match="no id") as caught:
            tokenizer.encode("ABCDEFG")
        assert str(caught.value).count("(U+") == 5 and "and 2 more" in str(caught.value)
        assert ("' ..." in str(caught.value)) is ends


def test_the_last_character_of_an_alphabet_may_lie_far_beyond_the_others():
    tokenizer = CharTokenizer.from_text("a\u9fff")
    assert tokenizer.decode(tokenizer.encode("\u9fffa\u9fff")) == "\u9fffa\u9fff"
