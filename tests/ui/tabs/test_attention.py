"""The Attention tab without a browser: what it shows, of which model, and what it makes of what a page may send."""

import base64
import gc
import json
import math
import types
import weakref

import gradio as gr
import numpy as np
import pytest
from markupsafe import escape

from pages import built
from support import EVIL, GRADIO, tiny
from tlab import Checkpoint, TrainConfig, Transformer
from tlab.inside.attention import HeadPortrait, Likely, ScoreStatistics, attention_targets, favourite_token, read
from tlab.nn.positions import POSITIONS
from tlab.text import CharTokenizer
from tlab.ui.demo.shipped_run import EXCERPT, demo_checkpoint, demo_run, demo_steps
from tlab.ui.inspection.cache import MAX_TOKENS, InspectionCache
from tlab.ui.inspection.selection import clamp_int, find_model, readable_text
from tlab.ui.runs.byte_budget_cache import ByteBudgetCache
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import Run
from tlab.ui.tabs.attention.tab import AttentionTab, kind_words
from tlab.ui.tabs.attention.view import (
    encode_signed,
    encode_unit,
    head_words,
    heads_value,
    map_value,
    next_html,
    opening_head,
    pair_value,
    positions_value,
    role_caption,
    rounded,
    statistics_html,
)

pytestmark = GRADIO

NAMES = ["scrub", "next", "heads", "note", "words", "map", "statistics", "pair", "positions", "shown", "instead"]


@pytest.fixture
def runs():
    runs = Runs(LOCAL, slots=1)
    yield runs
    runs.close()


@pytest.fixture
def tab(runs):
    return built(AttentionTab, runs)


def own_checkpoint(alphabet: str = " ab<>=", step: int = 7, **changes) -> Checkpoint:
    """A model of a visitor's, untrained: what it says does not matter here."""
    tokenizer = CharTokenizer("".join(sorted(set(alphabet))))
    config = tiny(vocab_size=tokenizer.vocab_size, **changes)
    weights = {name: param.data for name, param in Transformer(config).parameters.items()}
    return Checkpoint(config, TrainConfig(), {"name": "mine", "tokenizer": tokenizer.to_json()}, step, weights)


def look(tab, text=EXCERPT, selection=None, shown=None, run_id=None) -> dict:
    """What is sent, by name; skipped is what is not."""
    components = {**tab.drawn, "shown": tab.shown, "instead": tab.instead, "selection": tab.selection}
    updates = tab.on_look(run_id, text, selection or {}, shown)
    return {name: updates.get(component, gr.skip()) for name, component in components.items()}


def decoded(value: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(value), kind)


# ------------------------------------------------------------------------------------------------ what is sent


def test_weights_arrive_to_four_digits():
    weights = np.array([[0.12345, 1.0], [0.0, 0.5]])
    np.testing.assert_allclose(decoded(encode_unit(weights), "<u2") / 65535, weights.ravel(), atol=1e-5)


def test_signed_numbers_arrive_to_four_digits_of_the_largest():
    sent = encode_signed(np.array([-3.0, 0, 1.5]))
    assert sent["largest"] == 3
    np.testing.assert_allclose(decoded(sent["parts"], "<i2") / 32767 * 3, [-3, 0, 1.5], atol=1e-4)
    assert decoded(encode_signed(np.zeros(2))["parts"], "<i2").tolist() == [0, 0]


def test_what_is_not_finite_arrives_as_nothing():
    assert rounded(np.array([[0.12341, np.nan], [np.inf, 1]])) == [[0.1234, None], [None, 1.0]]


def test_the_map_carries_weights_and_the_scores_before_the_mask():
    model = Transformer(tiny(position="none"))
    reading = read(model, np.arange(5))
    value = map_value(list("abcde"), reading, 1, 2, 4, 3, 9)
    np.testing.assert_allclose(decoded(value["weights"], "<u2").reshape(5, 5) / 65535, reading.weights[1, 2], atol=1e-4)
    scores = decoded(value["scores"]["parts"], "<i2").reshape(5, 5) / 32767 * value["scores"]["largest"]
    queries, keys = reading.queries[1, 2], reading.keys[1, 2]
    np.testing.assert_allclose(scores, queries @ keys.T / 2, atol=1e-4)
    assert (value["chosen"], value["serial"]) == ([4, 3], 9)
    assert "head 3 of layer 2" in value["alternative"]


def test_a_thumbnail_is_the_root_of_a_heads_weights_in_sixteen_shades():
    reading = read(Transformer(tiny()), np.arange(6))
    value = heads_value(reading, 1, 0, 0)
    packed = decoded(value["tiles"], "u1").reshape(2, 3, 11)  # 21 tiles below the diagonal, two a byte
    tiles = np.stack([packed >> 4, packed & 15], axis=-1).reshape(2, 3, 22)
    assert not tiles[..., 21].any()
    rows, columns = np.tril_indices(6)
    roots = np.sqrt(reading.weights)[..., rows, columns]
    np.testing.assert_allclose(tiles[..., :21] / 15, roots, atol=0.5 / 15 + 1e-6)
    assert len(value["captions"]) == len(value["titles"]) == 6


def test_a_pair_ahead_of_the_query_is_sent_as_masked():
    reading = read(Transformer(tiny()), np.arange(6))
    assert pair_value(list("abcdef"), reading, 0, 0, 2, 4)["bias"] is None
    assert pair_value(list("abcdef"), reading, 0, 0, 4, 2)["who"] == ["e (5)", "c (3)"]


def portrait_of(*numbers, settled=4, token=0, token_share=0.0):
    """Of a head that looks at no one token of its text, unless one is given."""
    return HeadPortrait(*numbers, settled, token, token_share)


@pytest.mark.parametrize(
    ("portrait", "caption", "words"),
    [
        (portrait_of(0, 3, 0.1, 1.0, "previous", 1.0, 0.1), "token before", "looks at the token before: 100%"),
        (portrait_of(1, 0, 3.0, 9.0, "near", 0.35, 0.34), "spread", "spreads its weight"),
        (portrait_of(1, 0, 3.0, 9.0, "same", 0.2, 0.01), "spread", "as if over 20 tokens"),
        (portrait_of(1, 0, 0.6, 2.2, "previous", 0.18, 0.01), "elsewhere", "at few tokens at a time, about 1.8"),
    ],
)  # fmt: skip
def test_a_head_is_called_by_what_it_does_more_than_its_share(portrait, caption, words):
    assert role_caption(portrait) == caption
    assert words in head_words(portrait)


def test_a_kind_of_place_is_named_only_where_it_gets_more_than_its_fair_share():
    named = "Of the kinds of places that have a name here, it favours earlier copies of the same token most"
    assert named in head_words(portrait_of(0, 0, 1.0, 2.0, "same", 0.2, 0.1))
    assert "favours" not in head_words(portrait_of(0, 0, 1.0, 2.0, "same", 0.11, 0.1))


def test_a_head_that_looks_at_one_token_of_this_text_is_said_to_and_one_that_looks_at_all_alike_is_not():
    T, place = 24, 9
    uniform = np.tri(T) / np.arange(1, T + 1)[:, None]
    weights = 0.5 * uniform
    weights[:, place] += 0.5 * (np.arange(T) >= place)
    weights[:place] *= 2
    found, share = favourite_token(weights)
    assert (found, share) == (place, pytest.approx(0.5 + 0.5 * np.mean([1 / t for t in range(place + 2, T + 1)])))
    portrait = portrait_of(1, 0, 0.6, 2.2, "previous", 0.18, 0.01, token=found, token_share=share)
    assert f"the token at place {place + 1} gets {share:.0%} of the weight of those after it." in head_words(portrait)
    for length in range(2, 40):
        alike = np.tri(length) / np.arange(1, length + 1)[:, None]
        portrait = HeadPortrait(1, 0, 0.6, 2.2, "previous", 0.18, 0.01, 4, *favourite_token(alike))
        assert "In this text" not in head_words(portrait), length


@pytest.mark.parametrize(("text", "place"), [("the", 3), ("the bound", 5)])
def test_the_words_of_a_head_say_over_which_tokens_both_of_its_shares_are(text, place):
    reading = InspectionCache().look(demo_checkpoint(), text).reading
    uniform = np.tri(len(text)) / np.arange(1, len(text) + 1)[:, None]
    favourites = [portrait for portrait in reading.heads if " looks at the " in head_words(portrait)]
    assert favourites
    for portrait in favourites:
        weights = reading.weights[portrait.layer, portrait.head]
        share, alike = (attention_targets(table, reading.ids)[portrait.role] for table in (weights, uniform))
        shares = f"{share:.0%} of its weight goes there, {alike:.0%} if attention were uniform"
        assert f"{shares}, both from the token at place {place} on." in head_words(portrait)


def test_how_sharp_the_softmax_is_said_to_be_is_measured_on_its_weights():
    portrait = InspectionCache().look(demo_checkpoint(), "the bound").reading.heads[0]
    width = f"as wide as over {math.exp(portrait.entropy):.1f} tokens"
    statistics = ScoreStatistics(1.0, 1.0, 0.0, 9.0, 12.0, spread=9.0)  # a large spread alone is no hard choice
    assert width in statistics_html(statistics, portrait, 9)


@pytest.mark.parametrize("kind", POSITIONS)
def test_every_kind_of_position_is_told_in_words_and_pictures(tab, kind):
    value = look(tab, selection={"kind": kind})["positions"]
    own = demo_checkpoint().model_config.position
    assert value["kind"] == kind and [k for k, _ in value["kinds"]] == list(POSITIONS)
    assert POSITIONS.entries[kind].summary in value["words"]
    assert ("The model uses it" in value["words"]) == (kind == own)
    assert len(value["by_distance"][0]) > 1 and len(value["reach"][0]) == len(value["lengths"])
    assert (value["end"] is None) == POSITIONS[kind].unbounded
    json.dumps(value, allow_nan=False)


def test_tokens_and_samples_are_escaped_where_they_are_html():
    made = next_html([Likely(0, 0.5)], ("<u>",), EVIL, EVIL, 5, "a")
    assert "<u>" not in made and "<img" not in made
    assert escape("<u>") in made and escape(EVIL) in made


# ------------------------------------------------------------------------------------------------ what is asked


def reading_of(*portraits):
    """What a text makes of so many heads in one layer; each gives the first token half of what the one before did."""
    weights = np.stack([np.full((1, 4, 4), 0.5**i) for i in range(len(portraits))], axis=1)
    heads = [portrait_of(0, i, 0.0, 1.0, *portrait) for i, portrait in enumerate(portraits)]
    return types.SimpleNamespace(heads=heads, weights=weights)


def test_the_opening_shows_the_clearest_head_that_is_no_sink():
    shares = {"first": 1.0, "same": 0.6, "itself": 0.9, "previous": 0.7}
    head, why = opening_head(reading_of(*((role, share, 0.1) for role, share in shares.items())))
    assert head.role == "previous" and "other than the first token" in why


def test_where_no_head_has_another_favourite_the_one_that_looks_least_at_the_first_token_is_shown():
    head, why = opening_head(reading_of(("first", 1.0, 0.1), ("previous", 0.2, 0.1), ("itself", 0.9, 0.1)))
    assert head.head == 2 and "gives the first token so little" in why


def test_it_is_said_why_the_tab_opens_with_a_head_and_of_no_other(tab):
    shown = [look(tab, selection={"layer": layer, "head": head})["words"] for layer in range(2) for head in range(4)]
    assert sum("The tab opens with it: " in words for words in shown) == 1


def test_a_selection_changes_layer_head_and_pair_together(tab):
    shown = look(tab, selection={"layer": 1, "head": 2, "query": 9, "key": 4, "serial": 3})
    assert shown["heads"]["chosen"] == [1, 2]
    assert shown["map"]["chosen"] == [9, 4]
    assert "Head 3 of layer 2" in shown["statistics"]
    assert shown["map"]["serial"] == shown["heads"]["serial"] == shown["scrub"]["serial"] == 3


def test_without_a_chosen_pair_the_last_token_and_its_favourite_are_shown(tab):
    shown = look(tab, selection={"layer": 0, "head": 0})
    reading = tab.cache.look(demo_checkpoint(), EXCERPT).reading
    T = len(reading.ids)
    assert shown["map"]["chosen"] == [T - 1, int(reading.weights[0, 0, -1].argmax())]


@pytest.mark.parametrize(
    "selection",
    [
        {"layer": 10**9, "head": -5, "query": "x", "key": None, "kind": "<img>", "step": "1", "side": 7, "serial": {}},
        {"layer": True, "head": 1.5, "query": [], "key": {}, "kind": 3, "step": -1, "side": -1, "serial": -1},
        {"kind": ["rope"], "step": 10**30, "query": 10**12, "key": 10**12},
        "no selection at all",
        None,
        [1, 2],
    ],
)
def test_nonsense_from_a_page_is_brought_within_bounds(tab, selection):
    shown = look(tab, selection=selection)
    reading = tab.cache.look(find_model(tab.runs, None).checkpoint, EXCERPT).reading
    L, H, T = reading.weights.shape[:3]
    layer, head = shown["heads"]["chosen"]
    query, key = shown["map"]["chosen"]
    assert 0 <= layer < L and 0 <= head < H and 0 <= key <= query < T
    assert shown["positions"]["kind"] in POSITIONS
    json.dumps([shown[name] for name in NAMES[:9]], allow_nan=False)


def test_a_number_from_a_page_is_a_whole_number_within_bounds():
    assert [clamp_int(v, 0, 9, 5) for v in (3, -1, 99, None, True, 2.0, "3", [])] == [3, 0, 9, 5, 5, 5, 5, 5]


def test_the_slider_shows_the_model_of_that_step_in_map_bars_and_sample_together(tab):
    steps = demo_steps()
    early = look(tab, selection={"step": steps[0], "serial": 1})
    late = look(tab, selection={"step": steps[-1], "serial": 2})
    assert (early["scrub"]["step"], late["scrub"]["step"]) == (steps[0], steps[-1])
    assert early["scrub"]["steps"] == steps
    for name in ("next", "heads", "map", "statistics"):
        assert early[name] != late[name]
    assert f"after {steps[0]:,} steps" in early["note"] and f"after {steps[0]:,} steps" in early["next"]


def test_each_side_of_a_run_can_be_looked_into(tab):
    labels = [side.label for side in demo_run().sides]
    shown = [look(tab, selection={"side": side, "serial": side}) for side in range(len(labels))]
    assert [s["scrub"]["side"] for s in shown] == list(range(len(labels)))
    for side, label in zip(shown, labels, strict=True):
        assert side["scrub"]["labels"] == labels
        assert escape(label) in side["note"]
    assert len({s["map"]["weights"] for s in shown}) == len(labels)


def test_a_tab_that_comes_into_view_unchanged_is_sent_nothing(tab):
    selection = {"layer": 1, "serial": 4}
    shown = look(tab, selection=selection)["shown"]
    assert tab.on_look(None, EXCERPT, selection, shown) == gr.skip()


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"layer": 2}, ["words", "map", "statistics", "pair", "positions"]),
        ({"query": 5, "key": 1}, ["pair"]),
        ({"kind": "rope"}, ["positions"]),
        ({"step": 0}, NAMES[:9]),
        ({"side": 1}, NAMES[:9]),
    ],
)
def test_only_what_a_selection_changes_is_sent(tab, change, sent):
    selection = {"layer": 1, "head": 1}
    before = look(tab, selection=selection)["shown"]
    after = look(tab, selection={**selection, **change}, shown=before)
    assert [name for name in NAMES[:9] if after[name] != gr.skip()] == sent


def test_a_text_that_a_new_model_cannot_read_gives_way_but_only_in_its_own_place(tab):
    run = Run("visitor", demo_run().job, LOCAL)
    old = look(tab)["shown"]
    tab.runs.adopt(run, [[own_checkpoint()]])
    shown = look(tab, EXCERPT, shown=old, run_id=run.id)
    before, after = shown["instead"]
    assert before == EXCERPT
    assert set(after) <= set(" ab<>=")
    again = look(tab, after, shown["selection"], shown["shown"], run.id)
    assert again["map"] == gr.skip()  # the page now has that text
    typed = look(tab, EXCERPT, shown=shown["shown"], run_id=run.id)
    assert "no id for" in typed["note"] and typed["instead"] is None  # what is typed is the visitor's, never replaced


def test_of_a_long_text_the_end_is_read_and_goes_on(tab):
    length = demo_checkpoint().model_config.context_length
    whole, end = look(tab, EXCERPT * 3), look(tab, (EXCERPT * 3)[-length:])
    assert whole["next"] == end["next"] and whole["map"] == end["map"]


def test_a_text_that_nobody_typed_gives_way_to_the_new_models_own(tab):
    run = Run("visitor", demo_run().job, LOCAL)
    run.excerpt = "a = b"
    tab.runs.adopt(run, [[own_checkpoint()]])
    first, old = find_model(tab.runs, None).excerpt, look(tab)["shown"]
    assert look(tab, first, shown=old, run_id=run.id)["instead"] == [first, run.excerpt]
    assert look(tab, "b < a", shown=old, run_id=run.id)["instead"] is None


def test_a_new_model_is_shown_by_its_opening_head(tab):
    run = Run("visitor", demo_run().job, LOCAL)
    run.excerpt = "a = b < a"
    tab.runs.adopt(run, [[own_checkpoint(num_layers=2)]])
    shown = look(tab, shown=look(tab)["shown"], selection={"layer": 5, "head": 1, "serial": 3}, run_id=run.id)
    of = find_model(tab.runs, run.id)
    opening, _ = opening_head(tab.cache.look(of.checkpoint, of.excerpt).reading)
    layer, head = opening.layer, opening.head
    assert shown["heads"]["chosen"] == [layer, head]
    assert (shown["selection"]["layer"], shown["selection"]["head"], shown["selection"]["serial"]) == (layer, head, 3)


def test_the_text_of_the_opening_is_as_long_as_the_model_can_read(tab):
    of = find_model(tab.runs, None)
    assert len(of.checkpoint.tokenizer.encode(of.excerpt)) <= of.checkpoint.model_config.context_length
    assert "It reads" not in look(tab, of.excerpt)["note"]


def test_b_has_its_own_colour_in_what_comes_next(tab):
    assert "tl-side-a" in look(tab)["next"] and "tl-side-b" in look(tab, selection={"side": 1})["next"]


def test_a_long_text_says_how_much_of_it_is_read(tab):
    length = min(MAX_TOKENS, demo_checkpoint().model_config.context_length)
    note = look(tab, EXCERPT * 40)["note"]
    assert f"It reads the last {length} of the {len(EXCERPT) * 40:,} tokens." in note
    assert "It reads" not in look(tab, EXCERPT[: length - 1])["note"]


@pytest.mark.parametrize(("text", "words"), [("", "two characters"), ("a", "two characters"), ("日本", "no id for")])
def test_a_text_that_cannot_be_read_is_refused_in_words(tab, text, words):
    shown = look(tab)["shown"]
    refused = look(tab, text, shown=shown)
    assert words in refused["note"] and "tl-old-pictures" in refused["note"]
    assert refused["map"] == gr.skip()
    again = look(tab, EXCERPT, shown=refused["shown"])  # what greys the pictures is gone when the text is back
    assert "tl-old-pictures" not in again["note"] and again["map"] != gr.skip()


def test_a_text_that_a_model_cannot_read_gives_way_to_one_that_it_can():
    assert readable_text(demo_checkpoint(), "日本語", "import this") == "import this"
    assert readable_text(demo_checkpoint(), "import that", "import this") == "import that"
    neither = readable_text(demo_checkpoint(), "日本語", "漢字")
    assert len(demo_checkpoint().tokenizer.encode(neither)) >= 2


# ------------------------------------------------------------------------------------------------ remembered


def test_a_model_reads_the_same_text_once(tab, monkeypatch):
    calls = []
    forward = Transformer.run_blocks
    monkeypatch.setattr(Transformer, "run_blocks", lambda *given: calls.append(1) or forward(*given))
    text = EXCERPT[:30]  # not that of the page's opening, which has been read
    look(tab, text)
    made = len(calls)
    assert made > 0
    for head in range(4):
        look(tab, text, selection={"layer": head, "head": head, "query": head, "serial": head})
    assert len(calls) == made


def test_the_memory_lets_the_least_recently_used_go_when_bytes_run_out():
    memory = ByteBudgetCache(100)
    memory.put("a", 1, 40)
    memory.put("b", 2, 40)
    assert memory.get("a") == 1
    memory.put("c", 3, 40)
    assert [memory.get(key) for key in "abc"] == [1, None, 3]
    memory.put("d", 4, 101)
    assert memory.get("d") is None and memory.used <= 100


def test_what_is_remembered_of_a_model_goes_with_it():
    cache = InspectionCache()
    checkpoint = own_checkpoint()
    alive = weakref.ref(checkpoint)
    cache.look(checkpoint, "ab ab")
    cache.position(checkpoint, "rope")
    assert cache.memory.used > 0
    del checkpoint
    gc.collect()
    assert alive() is None
    assert (cache.memory.used, len(cache.memory.entries)) == (0, 0)


def test_two_models_that_read_one_text_are_never_taken_for_each_other():
    cache = InspectionCache()
    first, second = own_checkpoint(), own_checkpoint(hidden_dim=24)
    assert cache.look(first, "abab").reading.queries.shape != cache.look(second, "abab").reading.queries.shape


def test_the_words_of_a_kind_say_whether_it_is_the_models_own():
    config = tiny(position="rope")
    assert kind_words(config, "rope").endswith("The model uses it.")
    assert "Notice:" in kind_words(config, "alibi") and "does not use it" in kind_words(config, "alibi")


def test_the_words_of_a_kind_have_the_numbers_of_the_model_and_no_others():
    words = kind_words(tiny(position="rope", rope_base=100_000.0, rope_fraction=0.5), "rope")
    assert "Base of RoPE here: 100,000." in words and "Share that RoPE rotates here: 0.5." in words
    assert "10000" not in words
    assert "here:" not in kind_words(tiny(position="alibi", rope_base=100_000.0), "rope"), "this one has not begun"


def test_positions_are_measured_in_the_head_that_is_chosen():
    reading = read(Transformer(tiny(position="alibi")), np.arange(6))
    cache, checkpoint = InspectionCache(), own_checkpoint()
    made = cache.position(checkpoint, "alibi")
    values = [positions_value([], "alibi", "", made, (reading, 0, head), None)["measured"] for head in range(2)]
    assert values[0] != values[1] and values[0][0] == 0
