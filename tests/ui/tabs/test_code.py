"""The Code tab: every registered part has a page, and its code is shown as it is."""

import html
import re

import numpy as np
import pytest

from pages import built
from support import GRADIO
from tlab.nn.activations import ACTIVATIONS, Relu
from tlab.nn.residuals import RESIDUALS
from tlab.registry import REGISTRIES
from tlab.source import CORE_PARTS, CORE_SLOT, page
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.tabs.code.tab import CodeTab, body_html, head_html, highlight, known_page
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO


@pytest.fixture(scope="module")
def tab():
    runs = Runs(LOCAL, slots=1)
    yield built(CodeTab, runs, after=[TrainTab])
    runs.close()


PAGES = [(slot, key) for slot, registry in REGISTRIES.items() for key in registry]


def text_of(markup: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", markup))


@pytest.mark.parametrize(("slot", "key"), PAGES)
def test_the_shown_code_is_the_code_character_by_character(slot, key):
    shown = page(slot, key)
    for code in (shown.code, *shown.parts.values()):
        assert text_of(highlight(code)) == code
        assert highlight(code) in body_html(shown)


def test_each_kind_of_word_has_its_colour():
    code = '@wrap\ndef f(x):\n    """Says."""\n    return len("s") + 1  # why\n'
    colours = dict(re.findall(r'class="tl-c-(\w+)">([^<]+)<', highlight(code)))
    assert {kind: html.unescape(word) for kind, word in colours.items()} == {
        "nd": "@wrap", "k": "return", "nf": "f", "sd": '"""Says."""', "nb": "len", "s2": '"s"', "mi": "1",
        "c1": "# why", "w": "    ", "n": "x", "p": ")", "o": "+",
    }  # fmt: skip


@pytest.mark.parametrize(
    "code", ["def (", "'''open", "\x00", "\tx\n y", 'f"{a}{{b}} {c!r:>{d}}"\n', "x = 'ä' # <b>\f\n"]
)
def test_what_is_odd_or_no_python_is_shown_as_it_is(code):
    assert text_of(highlight(code)) == code
    assert "<b>" not in highlight(code)


def test_reference_comes_before_forward_and_backward():
    body = body_html(page("activation", "gelu"))
    places = [body.index(f"tl-code-{name}") for name in ("reference", "forward", "backward")]
    assert places == sorted(places)


@pytest.mark.parametrize(("slot", "key", "is_wide"), [("activation", "relu", False), (CORE_SLOT, "attention", True)])
def test_code_stands_side_by_side_only_where_no_line_would_be_cut(slot, key, is_wide):
    assert ("tl-code-wide" in body_html(page(slot, key))) == is_wide


def test_a_part_that_was_registered_a_moment_ago_has_its_page(tab):
    class Marked(Relu):
        """Says <b>bold</b> things."""

        def forward(self, x):
            return np.maximum(x, 0), None

    ACTIVATIONS.add("marked", label="<i>Marked</i>", formula="x")(Marked)
    try:
        head = head_html(page("activation", "marked"))
        assert "&lt;i&gt;Marked" in head
        assert "<b>bold" not in head
        choices = tab.on_slot("activation")[tab.entry]["choices"]
        assert ("<i>Marked</i>", "marked") in choices
    finally:
        ACTIVATIONS.remove("marked")


@pytest.mark.parametrize(
    ("slot", "key", "found"),
    [
        ("norm", "rmsnorm", ("norm", "rmsnorm")),
        ("norm", "gelu", ("norm", "layernorm")),
        ("core", "attention", ("core", "attention")),
        ("core", "layernorm", ("core", "model")),
        ("../x", None, ("norm", "layernorm")),
        (None, None, ("norm", "layernorm")),
    ],
)
def test_a_page_that_does_not_exist_gives_the_nearest_that_does(slot, key, found):
    assert known_page(slot, key) == found


def test_a_link_opens_the_page_of_what_is_chosen(tab):
    updates = tab.on_open("norm", "rmsnorm")
    head, formula = updates[tab.head], updates[tab.formula]
    assert (updates[tab.bar]["selected"], updates[tab.slot], updates[tab.entry]["value"]) == ("code", "norm", "rmsnorm")
    assert "RMSNorm" in head
    assert "sqrt" in formula


def test_the_model_itself_has_pages_beside_the_switches(tab):
    choices = tab.on_slot(CORE_SLOT)[tab.entry]["choices"]
    assert [key for _, key in choices] == list(CORE_PARTS)
    updates = tab.on_entry(CORE_SLOT, "attention")
    assert "causal_mask" in updates[tab.body] and "def forward" in text_of(updates[tab.body])
    assert not updates[tab.other]["visible"]  # there is one attention: nothing to compare it with


def test_two_alternatives_are_compared_line_by_line(tab):
    others = [key for key in RESIDUALS if key != "pre"]
    assert [key for _, key in tab.on_entry("residual", "pre")[tab.other]["choices"]] == others
    shown = tab.on_other("residual", "pre", "post")[tab.difference]
    assert "Pre-LN to Post-LN" in shown
    assert "− 4 lines only in Pre-LN, + 4 lines only in Post-LN" in " ".join(text_of(shown).split())
    signs = re.findall(r'<span(?: class="tl-code-(old|new)")?><i>(.)</i>', shown)
    assert {("old", "−"), ("new", "+"), ("", " ")} == set(signs)


@pytest.mark.parametrize(
    ("slot", "key", "other"), [("residual", "pre", None), ("residual", "pre", "gelu"), (CORE_SLOT, "mlp", "mlp")]
)
def test_a_comparison_with_nothing_that_can_be_compared_shows_none(tab, slot, key, other):
    assert tab.on_other(slot, key, other)[tab.difference] == ""
