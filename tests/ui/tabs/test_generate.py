"""The Generate tab without a browser: the chain under the sliders, writing on both sides, and other tokens instead."""

import gc
import itertools
import json
import math
import weakref

import gradio as gr
import numpy as np
import pytest

from pages import built
from support import GRADIO, tiny
from tlab import Checkpoint, TrainConfig, Transformer, generate
from tlab.generate import Sampling, sampling_steps
from tlab.nn.loss import softmax
from tlab.text import ByteTokenizer, CharTokenizer
from tlab.ui.demo.shipped_run import PROMPT, SHIPPED_PRESETS, demo_checkpoint, demo_run
from tlab.ui.inspection.selection import SelectedModel, find_model
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import Run
from tlab.ui.tabs.generate import tab as generate_tab
from tlab.ui.tabs.generate.tab import SIDES, TOKENS, GenerateTab
from tlab.ui.tabs.generate.texts import GeneratedTexts

pytestmark = GRADIO


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(generate_tab, "SECONDS_BETWEEN_FRAMES", 0)


@pytest.fixture
def runs():
    runs = Runs(LOCAL, slots=1)
    yield runs
    runs.close()


@pytest.fixture
def tab(runs):
    return built(GenerateTab, runs)


def own_checkpoint(tokenizer=None, **changes) -> Checkpoint:
    """A model of a visitor's, untrained: what it says does not matter here."""
    tokenizer = tokenizer or CharTokenizer(" <=>ab")
    config = tiny(vocab_size=tokenizer.vocab_size, **changes)
    weights = {name: param.data for name, param in Transformer(config).parameters.items()}
    return Checkpoint(config, TrainConfig(), {"name": "mine", "tokenizer": tokenizer.to_json()}, 7, weights)


SHIPPED = demo_run().id


def look(
    tab, prompt=PROMPT, temperature=1.0, top_k=0, top_p=1.0, selection=None, writer=SHIPPED, answered=None,
    run_id=None, repetition=1.0,
):  # fmt: skip
    """What is sent, by name; skipped is what is not."""
    request = gr.Request(session_hash="me")
    asked = (run_id, prompt, temperature, top_k, top_p, repetition, selection or {}, writer, answered, request)
    updates = tab.on_look(*asked)
    components = {
        "chain_a": tab.chains[0], "chain_b": tab.chains[1], "text_a": tab.texts[0], "text_b": tab.texts[1],
        "note": tab.note, "writer": tab.writer, "answered": tab.answered, "another": tab.another,
        "column": tab.columns[1],
    }  # fmt: skip
    return {name: updates.get(component, gr.skip()) for name, component in components.items()}


def write(
    tab, prompt=PROMPT, temperature=0.8, top_k=0, top_p=1.0, count=30, seed=7, instead=None, branched=0, run_id=None,
    repetition=1.0,
):  # fmt: skip
    request = gr.Request(session_hash="me")
    settings = (temperature, top_k, top_p, repetition)
    components = [*tab.texts, tab.note, tab.writer, tab.branched]
    frames = tab.on_write(run_id, prompt, *settings, count, seed, instead, branched, request)
    return [[frame.get(component, gr.skip()) for component in components] for frame in frames]


# ------------------------------------------------------------------------------------------------ the chain


def test_the_chain_shows_every_step_from_logit_to_probability(tab):
    chain = look(tab, temperature=0.5, top_k=4)["chain_a"]
    logits = tab.cache.next_logits(demo_checkpoint(), PROMPT)
    steps = sampling_steps(logits, Sampling(0.5, 4))
    assert len(chain["rows"]) == generate_tab.CANDIDATES
    order = np.argsort(-logits, kind="stable")
    for (token_id, name, logit, penalized, divided, kept, share), expected in zip(chain["rows"], order, strict=False):
        assert token_id == expected and name == demo_checkpoint().tokenizer.tokens[token_id]
        assert logit == pytest.approx(logits[expected])
        assert penalized == logit
        assert divided == pytest.approx(logits[expected] / 0.5)
        assert kept == bool(np.isfinite(steps.filtered[expected]))
        assert share == pytest.approx(steps.probabilities[expected])
    removed = 1 - softmax(logits / np.float32(0.5))[order[:4]].sum()
    assert f"Top-k 4 cuts {len(logits) - 4} of {len(logits)} tokens, and with them {removed:.1%}" in chain["words"]
    json.dumps(chain, allow_nan=False)


def test_the_penalty_is_for_the_prompt_and_for_what_was_written_before_a_clicked_token(tab):
    known = set(demo_checkpoint().tokenizer.encode(PROMPT).tolist())
    rows = look(tab, repetition=2.0)["chain_a"]["rows"]
    assert {row[0]: row[3] != row[2] for row in rows} == {row[0]: row[0] in known for row in rows}
    text = write(tab, repetition=1.3, temperature=1.5)[-1][0]
    selection = {"serial": 1, "a": {"number": text["number"], "place": 29}}
    chain = look(tab, repetition=1.3, temperature=1.5, selection=selection)["chain_a"]
    drawn = next(row for row in chain["rows"] if row[0] == chain["drawn"])
    assert drawn[6] == pytest.approx(text["tokens"][29][1], abs=1e-4)  # the probability with which it was written


def test_a_text_of_an_earlier_alphabet_gives_way_to_the_prompt(tab):
    old = own_checkpoint()
    writing = tab.writings.begin(old, "ab", 9)
    for token in generate(old, "ab", max_new_tokens=9, seed=0):
        writing.add(token)
    (of, *_) = tab.find_models(None)
    assert tab.chain(of, PROMPT, Sampling(), (writing, 0)) == tab.chain(of, PROMPT, Sampling(), None)


@pytest.mark.parametrize("repetition", [1.0, 1.5])
def test_the_first_token_of_a_text_can_be_clicked_too(tab, repetition):
    text = write(tab, repetition=repetition)[-1][0]
    chain = look(tab, repetition=repetition, selection={"serial": 1, "a": {"number": text["number"], "place": 0}})[
        "chain_a"
    ]
    assert chain["drawn"] is not None and chain["where"].endswith("token 1 of the text")


def test_at_temperature_0_the_chain_has_one_token_left(tab):
    chain = look(tab, temperature=0)["chain_a"]
    assert [row[6] for row in chain["rows"][:2]] == [1, 0]
    assert chain["rows"][1][4] is None
    assert "one among 1.0 equal" in chain["words"]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"top_k": 0, "top_p": 1.0}], ids=str)
def test_nothing_is_called_cut_by_what_is_off(tab, settings):
    chain = look(tab, **settings)["chain_a"]
    assert not chain["filtered"] and "cut" not in chain["words"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"top_p": 0.5}, "Top-p 0.5 cuts"),
        ({"top_k": 3, "top_p": 0.9}, "Top-k 3 and top-p 0.9 cuts"),
        ({"top_k": 1000}, "Top-k 1000 cuts nothing"),
    ],
)
def test_what_cuts_is_called_by_its_name(tab, settings, words):
    chain = look(tab, **settings)["chain_a"]
    assert chain["filtered"] and words in chain["words"]


def test_a_prompt_that_nobody_typed_gives_way_to_the_new_models_own(tab):
    run = Run("visitor", demo_run().job, LOCAL)
    run.excerpt = "a = b"
    tab.runs.adopt(run, [[own_checkpoint()]])
    before = find_model(tab.runs, None).prompt
    assert look(tab, before, run_id=run.id, writer="shipped")["another"] == [before, run.excerpt]
    assert look(tab, "b < a", run_id=run.id, writer="shipped")["another"] is None


def test_the_sliders_act_on_cached_logits(tab, monkeypatch):
    look(tab)
    monkeypatch.setattr(Transformer, "run_blocks", None)  # whoever calls it now fails
    probabilities = [look(tab, temperature=t)["chain_a"]["rows"][0][6] for t in (0.2, 0.5, 1.0, 1.5, 2.0)]
    assert probabilities == sorted(probabilities, reverse=True)


def test_both_sides_show_the_same_prompt(tab):
    shown = look(tab)
    assert len(demo_run().sides) == SIDES
    assert shown["chain_a"]["rows"] != shown["chain_b"]["rows"]
    assert shown["chain_a"]["where"] == shown["chain_b"]["where"] == "next, after the prompt"


@pytest.mark.parametrize(("prompt", "words"), [("", "empty"), (None, "empty"), ("日本", "no id for")])
def test_a_prompt_that_cannot_be_read_is_told_in_the_chain(tab, prompt, words):
    chain = look(tab, prompt)["chain_a"]
    assert chain["rows"] == [] and words in chain["words"]


@pytest.mark.parametrize("setting", [{"temperature": "hot"}, {"temperature": math.nan}, {"top_p": 7}, {"top_p": -1},
                                     {"repetition": 0}, {"repetition": "much"}])  # fmt: skip
def test_sliders_that_say_nonsense_are_refused_in_words(tab, setting):
    with pytest.raises(gr.Error, match="must be"):
        look(tab, **setting)


# ------------------------------------------------------------------------------------------------ writing


def test_a_seed_that_is_not_whole_is_refused_and_an_empty_one_is_0(tab):
    with pytest.raises(gr.Error, match=r"“Seed” is 1\.5: it must be a whole number"):
        write(tab, seed=1.5)
    assert write(tab, seed=None)[-1][0]["tokens"] == write(tab, seed=0)[-1][0]["tokens"]


def test_the_same_seed_writes_the_same_text_in_growing_frames(tab):
    first, second = write(tab), write(tab)
    assert first[-1][0]["tokens"] == second[-1][0]["tokens"]
    lengths = [len(frame[0]["tokens"]) for frame in first]
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[-1] == 30
    for before, after in itertools.pairwise(frame[0]["tokens"] for frame in first):
        assert after[: len(before)] == before  # so that Gradio sends what is new and no more
    text = "".join(token for token, _ in first[-1][0]["tokens"])
    assert text == "".join(map(str, generate(demo_checkpoint(), PROMPT, max_new_tokens=30, temperature=0.8, seed=7)))


def test_two_sides_write_at_once_to_one_prompt(tab):
    last = write(tab)[-1]
    for side in range(SIDES):
        model = demo_checkpoint(side)
        expected = "".join(map(str, generate(model, PROMPT, max_new_tokens=30, temperature=0.8, seed=7)))
        assert "".join(token for token, _ in last[side]["tokens"]) == expected
        assert last[side]["title"] == f"{'AB'[side]}: {demo_run().sides[side].label}"


def test_each_text_has_a_number_that_nobody_guesses(tab):
    numbers = [frame[side]["number"] for _ in range(3) for frame in write(tab, count=1)[:1] for side in range(SIDES)]
    assert len(set(numbers)) == 6 and all(len(number) >= 12 for number in numbers)


@pytest.mark.parametrize("prompt", ["", "日本語"])
def test_a_prompt_that_cannot_be_written_to_is_refused_in_words(tab, prompt):
    with pytest.raises(gr.Error):
        write(tab, prompt)


def test_a_clicked_token_shows_what_it_was_chosen_by(tab):
    text = write(tab)[-1][0]
    at = {"a": {"number": text["number"], "place": 12}, "serial": 1}
    chain = look(tab, temperature=0.8, selection=at)["chain_a"]
    drawn = next(row for row in chain["rows"] if row[0] == chain["drawn"])
    assert drawn[6] == pytest.approx(text["tokens"][12][1], abs=1e-4)  # the probability that tints it
    assert "token 13 of the text" in chain["where"]
    assert chain["place"] == 12
    assert look(tab, selection=at)["chain_b"]["place"] is None  # the other side's text was not clicked


def test_who_types_another_prompt_sees_what_comes_after_it_again(tab):
    text = write(tab)[-1][0]
    at = {"a": {"number": text["number"], "place": 12}, "serial": 1}
    shown = look(tab, selection=at)
    assert shown["chain_a"]["place"] == 12
    shown = look(tab, PROMPT + "s", selection=at, answered=shown["answered"])
    assert shown["chain_a"]["place"] is None
    shown = look(tab, PROMPT + "s", temperature=0.3, selection=at, answered=shown["answered"])
    assert shown["chain_a"]["place"] is None  # and it stays so when a slider moves
    assert look(tab, PROMPT + "s", selection={**at, "serial": 2}, answered=shown["answered"])["chain_a"]["place"] == 12


@pytest.mark.parametrize(
    "at",
    [None, "x", {}, {"number": 3, "place": 0}, {"number": "guess", "place": 0}, {"number": None, "place": None}, [1]],
)
def test_a_place_that_is_none_is_the_one_after_the_prompt(tab, at):
    assert look(tab, selection={"a": at, "serial": 1})["chain_a"]["place"] is None


@pytest.mark.parametrize("place", [-1, 30, 10**12, "3", 2.0, True])
def test_a_place_outside_the_text_is_the_one_after_the_prompt(tab, place):
    number = write(tab)[-1][0]["number"]
    assert look(tab, selection={"a": {"number": number, "place": place}, "serial": 1})["chain_a"]["place"] is None


def test_another_token_instead_keeps_the_beginning_and_writes_on(tab):
    before = write(tab)[-1][0]
    chain = look(tab, selection={"a": {"number": before["number"], "place": 5}, "serial": 1})["chain_a"]
    token_id = next(row[0] for row in chain["rows"] if row[0] != chain["drawn"])
    instead = {"side": 0, "number": before["number"], "place": 5, "id": token_id, "serial": 1}
    frames = write(tab, instead=instead)
    after = frames[-1][0]
    assert after["tokens"][:5] == before["tokens"][:5]
    assert after["tokens"][5][0] == demo_checkpoint().tokenizer.decode([token_id])
    assert len(after["tokens"]) == 30 and after["number"] != before["number"]
    so_far = PROMPT + "".join(token for token, _ in after["tokens"][:6])
    rest = generate(demo_checkpoint(), so_far, max_new_tokens=24, temperature=0.8, seed=7)
    assert "".join(token for token, _ in after["tokens"][6:]) == "".join(map(str, rest))
    assert all(frame[1] == gr.skip() for frame in frames)  # the other side's text stays
    assert frames[0][-1] == 1
    assert write(tab, instead=instead, branched=1)[-1][1] != gr.skip()  # the next Write is a Write again


@pytest.mark.parametrize(
    ("change", "words"),
    [({"number": "gone"}, "no longer kept"), ({"place": 99}, "no longer kept"), ({"id": 10**9}, "no such token"),
     ({"id": -1}, "no such token"), ({"id": "a"}, "no such token")],
)  # fmt: skip
def test_another_token_that_cannot_be_is_refused_in_words(tab, change, words):
    number = write(tab)[-1][0]["number"]
    with pytest.raises(gr.Error, match=words):
        write(tab, instead={"side": 0, "number": number, "place": 1, "id": 1, "serial": 1, **change})


def test_a_text_of_an_earlier_model_is_not_gone_on_with_by_a_later_one():
    writings = GeneratedTexts()
    old, new = own_checkpoint(), own_checkpoint()
    writing = writings.begin(old, "ab", 9)
    for token in generate(old, "ab", max_new_tokens=9, seed=0):
        writing.add(token)
    with pytest.raises(ValueError, match="earlier model"):
        writings.branch({"number": writing.number, "place": 1, "id": 0}, new, 9, Sampling())


# ------------------------------------------------------------------------------------------------ other models


@pytest.mark.parametrize("preset", list(SHIPPED_PRESETS.values()), ids=lambda preset: preset.label)
def test_a_shipped_model_shows_what_it_writes_at_once_and_the_same_each_time(tab, preset):
    run = demo_run(preset)
    shown, again = (look(tab, run_id=run.id, writer="another run") for _ in range(2))
    for letter, side in zip("ab", run.sides, strict=False):
        text = shown[f"text_{letter}"]
        assert len(text["tokens"]) == TOKENS
        assert side.label in text["title"] or len(run.sides) == 1
        assert again[f"text_{letter}"] == text


def a_run(runs) -> Run:
    """Of a visitor, with a model on one side."""
    run = Run("visitor", demo_run().job, LOCAL)
    runs.adopt(run, [[own_checkpoint()]])
    return run


def test_a_new_model_gets_an_empty_page_its_own_alphabet_and_one_side(tab, runs):
    run = a_run(runs)
    shown = look(tab, run_id=run.id, writer="another run")
    assert shown["text_a"]["tokens"] == [] and shown["text_a"]["number"]
    before, after = shown["another"]
    assert before == PROMPT and set(after) <= set(" <=>ab")
    assert shown["chain_a"]["rows"]
    assert look(tab, after, run_id=run.id, writer=shown["writer"])["text_a"] == gr.skip()


def test_what_a_new_model_writes_stays_when_the_look_at_it_is_answered_later(tab, runs, monkeypatch):
    """Who presses Generate right after the tab has come into view must not see the text go again."""
    run = a_run(runs)
    chain, written = tab.chain, []

    def slow_chain(*asked):
        written.extend(write(tab, prompt="ab", run_id=run.id))
        return chain(*asked)

    monkeypatch.setattr(tab, "chain", slow_chain)
    answer = look(tab, run_id=run.id)
    assert len(written[-1][0]["tokens"]) == 30
    assert answer["text_a"] == answer["text_b"] == gr.skip()


def test_another_model_ends_what_the_one_before_still_writes(tab, runs):
    writing = tab.on_write(None, PROMPT, 0.8, 0, 1, 1, 300, 0, None, 0, gr.Request(session_hash="me"))
    next(writing)
    look(tab, run_id=a_run(runs).id)
    assert list(writing) == []


def test_a_model_that_is_let_write_before_it_is_looked_at_has_a_column_for_each_side(tab, runs):
    run = a_run(runs)
    (first, *_) = tab.on_write(run.id, "ab", 0.8, 0, 1, 1, 20, 0, None, 0, gr.Request(session_hash="me"))
    assert [first[column]["visible"] for column in tab.columns] == [True, False]
    assert look(tab, run_id=run.id)["text_a"] == gr.skip()


def test_bytes_that_are_no_text_are_chosen_and_shown_all_the_same(tab, monkeypatch):
    checkpoint = own_checkpoint(ByteTokenizer())
    monkeypatch.setattr(tab, "find_models", lambda _: [model_of_tab(tab, checkpoint)])
    text = write(tab, "é", count=20)[-1][0]
    assert len(text["tokens"]) == 20
    chain = look(tab, "é", selection={"a": {"number": text["number"], "place": 3}, "serial": 1})["chain_a"]
    assert chain["place"] == 3 and any(row[0] == chain["drawn"] for row in chain["rows"])


def model_of_tab(tab, checkpoint):
    return SelectedModel(checkpoint, demo_run(), 0, ["this run"], [checkpoint.step])


def test_texts_beyond_the_budget_go_the_oldest_first_and_the_pages_own_never():
    checkpoint = own_checkpoint()
    writings = GeneratedTexts(budget=20_000)
    shipped = writings.ship(checkpoint, "ab")
    numbers = [writings.begin(checkpoint, "ab", 40).number for _ in range(4)]
    assert [writings.find(number) is not None for number in numbers] == [False, False, True, True]
    assert writings.find(shipped.number) is shipped


def test_the_texts_of_a_visitor_who_leaves_go_and_those_of_others_stay():
    checkpoint = own_checkpoint()
    writings = GeneratedTexts()
    shipped = writings.ship(checkpoint, "ab")
    mine, theirs = (writings.begin(checkpoint, "ab", 5, owner) for owner in ("me", "them"))
    writings.forget("me")
    assert [writings.find(writing.number) is writing for writing in (mine, theirs, shipped)] == [False, True, True]


def test_a_kept_text_does_not_keep_its_model():
    writings = GeneratedTexts()
    checkpoint = own_checkpoint()
    alive = weakref.ref(checkpoint)
    writing = writings.begin(checkpoint, "ab", 5)
    for token in itertools.islice(generate(checkpoint, "ab", max_new_tokens=5), 5):
        writing.add(token)
    del checkpoint
    gc.collect()
    assert alive() is None and writings.find(writing.number) is writing
