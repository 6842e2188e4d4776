"""What the words of the page mean: every one has a tip, and no word has two."""

import pytest

from tlab.nn.activations import ACTIVATIONS, Relu
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.training.schedules import SCHEDULES
from tlab.ui.glossary.terms import TERMS, all_terms


def test_no_word_has_two_meanings():
    forms = [form for term in all_terms() for form in (term.name, *term.forms)]
    assert sorted(set(forms), key=forms.index) == forms


@pytest.mark.parametrize("word", ["learned", "linear", "constant", "cosine", "weights", "key", "value"])
def test_a_word_of_every_day_is_no_term_by_itself(word):
    forms = [form for term in all_terms() for form in (term.name, *term.forms)]
    assert word not in forms, "it would be marked in sentences that mean something else"


def test_parts_whose_label_is_a_word_of_every_day_are_there_by_their_slot():
    known = {term.name: term.meaning for term in all_terms()}
    assert known["cosine schedule"] == SCHEDULES.entries["cosine"].summary
    assert known["learned positions"] == POSITIONS.entries["learned"].summary
    assert {"linear schedule", "constant schedule"} <= known.keys()


def test_a_part_of_any_slot_may_have_a_word_of_every_day_for_its_label():
    ACTIVATIONS.add("straight", label="linear")(type("Straight", (Relu,), {"__doc__": "Says what it does."}))
    try:
        assert "linear activation" in [term.name for term in all_terms()]
    finally:
        ACTIVATIONS.remove("straight")


def test_no_meaning_is_only_the_word_again():
    for term in TERMS:
        assert not term.meaning.lower().startswith(term.name.lower()) and term.meaning.endswith(".")


ASKED = (
    *(
        "nats",
        "token",
        "Pre-LN",
        "Post-LN",
        "residual stream",
        "uniform guess",
        "entropy",
        "validation loss",
        "warm-up",
    ),
    *(
        "gradient",
        "token frequencies",
        "seed",
        "layer",
        "head",
        "logit lens",
        "perplexity",
        "RMSNorm",
        "SwiGLU",
        "RoPE",
    ),
    *("geometric mean", "tied", "sinusoidal", "GELU", "AdamW", "residual", "residual connection"),
    *("token pairs", "Tune both sides", "keys and values", "blind guess", "cosine similarity"),
    *("GQA", "dropout", "label smoothing", "EMA", "z-loss", "gradient clipping"),
)


@pytest.mark.parametrize("word", ASKED)
def test_what_a_first_visitor_asks_about_is_there(word):
    assert any(word in (term.name, *term.forms) for term in all_terms())


def test_a_part_that_was_registered_a_moment_ago_has_its_tip():
    @NORMS.add("marked", label="MarkedNorm")
    class Marked(NORMS["rmsnorm"]):
        """Says what it does."""

    try:
        assert [term.meaning for term in all_terms() if term.name == "MarkedNorm"] == ["Says what it does."]
    finally:
        NORMS.remove("marked")
