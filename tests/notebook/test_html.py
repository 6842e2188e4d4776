"""What shows itself in a notebook: known pieces of HTML, and nothing in them that a browser would obey or fetch."""

import re

import pytest

from support import EVIL
from tlab.notebook.html import (
    MAX_SHOWN_ROWS,
    MAX_SHOWN_TOKENS,
    bar_html,
    frame_of,
    picture_html,
    table_html,
    tokens_html,
)
from tlab.text import corpus_from_text

HOSTILE = [EVIL, "<script>hacked = 1</script>", "</span></table><script>", "' onload='x", '" onload="x', "&lt;b&gt;"]
TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "br", "small", "p", "div", "span", "img"}


def shown_by(made):
    """The HTML of every kind, with this text wherever one can be."""
    return [
        table_html([(made, made)], [[made]], made),
        picture_html(b"png", 5, made),
        bar_html(0.5, made),
        tokens_html([made, made], [1, 2]),
    ]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_text_is_shown_and_never_obeyed(hostile):
    for made, harmless in zip(shown_by(hostile), shown_by("x"), strict=True):
        tags = re.findall(r"<\s*/?([a-z]+)", made)
        assert set(tags) <= TAGS and tags == re.findall(r"<\s*/?([a-z]+)", harmless)
        assert made.count('"') == harmless.count('"')  # so none of it is an attribute


def test_nothing_is_fetched_from_elsewhere():
    for made in shown_by("x"):
        assert not re.findall(r"https?:|//|url\(", made.split("base64,")[0])


def test_a_table_has_names_units_and_a_caption():
    assert table_html([("loss", "nats")], [["1.5"], ["2"]], "both") == (
        "<table><caption>both</caption><thead><tr><th>loss<br><small>nats</small></th></tr></thead>"
        "<tbody><tr><td>1.5</td></tr><tr><td>2</td></tr></tbody></table>"
    )


def test_a_long_table_says_how_much_of_it_is_shown():
    made = table_html([("n", "")], [[str(i)] for i in range(MAX_SHOWN_ROWS + 1)])
    assert f"the first {MAX_SHOWN_ROWS} of {MAX_SHOWN_ROWS + 1} rows" in made
    assert made.count("<td>") == MAX_SHOWN_ROWS
    assert "the first" not in table_html([("n", "")], [["0"]] * MAX_SHOWN_ROWS)


def test_every_token_has_a_colour_of_its_own_and_its_id_and_a_line_ends_where_it_does():
    made = tokens_html(["a", "↵", "b"], [7, 0, 9])
    assert re.findall(r'title="(id \d+)">(.)</span>(<br>)?', made) == [
        ("id 7", "a", ""), ("id 0", "↵", "<br>"), ("id 9", "b", ""),
    ]  # fmt: skip
    colours = re.findall(r"background:(#\w+)", made)
    assert len(set(colours)) == 3 and "3 tokens" in made


def test_a_long_text_says_how_much_of_it_is_shown():
    made = tokens_html(["a"] * (MAX_SHOWN_TOKENS + 1), [0] * (MAX_SHOWN_TOKENS + 1))
    assert made.count("<span") == MAX_SHOWN_TOKENS
    assert f"2,001 tokens of which the first {MAX_SHOWN_TOKENS} are shown" in made


@pytest.mark.parametrize(("share", "width"), [(0.0, "0.0"), (0.25, "25.0"), (7.0, "100.0"), (-1, "0.0")])
def test_a_bar_is_as_long_as_its_share(share, width):
    assert f"width:{width}%" in bar_html(share, "")


def test_a_picture_is_part_of_the_page():
    assert 'src="data:image/png;base64,cG5n"' in picture_html(b"png", 5, "what")
    assert 'alt="what"' in picture_html(b"png", 5, "what")


def test_a_corpus_shows_how_it_begins_and_how_much_there_is():
    shown = corpus_from_text(EVIL * 20, "<b>")._repr_html_()
    assert f"&lt;b&gt;: {20 * len(EVIL)} characters, {20 * len(EVIL)} tokens, of which the first 400 are shown" in shown
    assert shown.count("<span") == 400 and "<img" not in shown


def test_a_frame_has_its_columns_also_without_rows():
    assert list(frame_of([], ("a", "b"), {}).columns) == ["a", "b"]
    frame = frame_of([(1, 0.1 + 0.2)], ("a", "b"), {"title": "x"})
    assert frame["b"].tolist() == [0.1 + 0.2] and frame.attrs == {"title": "x"}
