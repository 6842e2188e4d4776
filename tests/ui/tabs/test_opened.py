"""The tabs on a model that was opened: lists and refusals, what each answers, and the process that reads it once."""

import base64
import inspect
import threading
import time
import types

import gradio as gr
import numpy as np
import pytest

from opening import llama_folder
from pages import built, patient_inspector
from support import GRADIO, SECONDS
from tlab.inside import PROBES
from tlab.inside.probes.residual import AttributionRow
from tlab.ui import opened_models
from tlab.ui.demo.shipped_run import EXCERPT, SHIPPED_IDS
from tlab.ui.inspection import tasks
from tlab.ui.inspection.process import ReadSoFar
from tlab.ui.inspection.selection import CAPITALS, OTHER_CAPITALS, find_model
from tlab.ui.opened_models import OPENED_PREFIX, OpenedModels
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.runs.manager import Runs
from tlab.ui.tabs import model_choice
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.inside.checks_panel import bug_job
from tlab.ui.tabs.inside.options import default
from tlab.ui.tabs.inside.pictures import LARGEST_ESTIMATES, picture_value
from tlab.ui.tabs.inside.tab import FIRST, ONE_STEP, OTHER_TEXT, InsideTab, other_text
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO

MODEL = f"{OPENED_PREFIX}little-llama"
VISIT = types.SimpleNamespace(session_hash="a page", headers={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama_folder(tmp_path_factory.mktemp("models") / "little-llama")


@pytest.fixture(scope="module")
def runs(folder):
    runs = Runs(LOCAL, slots=1)
    runs.opened = OpenedModels(public=False, listed=[str(folder)])
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def inspector():
    with patient_inspector(LOCAL) as inspector:
        yield inspector


@pytest.fixture(scope="module")
def attention(runs):
    return built(AttentionTab, runs)


@pytest.fixture(scope="module")
def inside(runs, inspector):
    return built(InsideTab, runs, inspector, after=[TrainTab, AttentionTab])


# ------------------------------------------------------------------------------------------------ the list


def chosen(choice, sent):
    """The model of all tabs once this was sent; None where it stays what it was."""
    *_, last = choice.on_choose(sent, None, VISIT)
    return last.get(choice.model_id) if isinstance(last, dict) and choice.told in last else None


def test_the_list_has_opened_models_before_the_shipped_ones(attention):
    ids = [model_id for _, model_id in attention.choice.choices("nobody")]
    assert ids[0] == MODEL and {*ids[1:]} == SHIPPED_IDS
    assert chosen(attention.choice, MODEL) == MODEL


@pytest.fixture
def slow_reading(monkeypatch):
    """Half of each model is read, and that is waited for until it has been said."""
    read = opened_models.read_model

    def read_slowly(place, tell, progress):
        time.sleep(0.3)
        tell("Reading it")
        progress(0.5)
        time.sleep(0.3)
        return read(place)

    monkeypatch.setattr(opened_models, "read_model", read_slowly)
    monkeypatch.setattr(model_choice, "SECONDS_BETWEEN_WORDS", 0.05)


def test_a_model_is_opened_with_words_before_and_chosen_after(attention, slow_reading, tmp_path):
    choice = attention.choice
    frames = list(choice.on_open(str(llama_folder(tmp_path / "another")), VISIT))
    told = [frame[choice.told] for frame in frames]
    assert "Looking for it" in told[0] and "Reading it: 50.0% of it so far" in told[-2]
    assert frames[-1][choice.model_id] == f"{OPENED_PREFIX}another"
    assert ("Opened: another", f"{OPENED_PREFIX}another") in frames[-1][choice.list]["choices"]


def test_what_cannot_be_opened_is_told_in_the_importers_words_and_changes_nothing(attention):
    choice = attention.choice
    *_, last = choice.on_open("/nowhere/<b>", VISIT)
    assert "is not there" in last[choice.told] and "&lt;b&gt;" in last[choice.told]
    assert set(last) == {choice.told}


def test_a_public_page_has_no_box_and_refuses_a_path_that_is_sent_all_the_same(folder, tmp_path):
    runs = Runs(PUBLIC, slots=1)
    runs.opened = OpenedModels(public=True, listed=[str(folder)])
    choice = built(AttentionTab, runs).choice
    assert not hasattr(choice, "open") and not hasattr(choice, "place")
    secret = llama_folder(tmp_path / "secret")
    for sent in (str(secret), f"{OPENED_PREFIX}{secret}", [str(secret)], None):
        assert chosen(choice, sent) is None
        if not isinstance(sent, list):
            assert find_model(runs, sent).opened is None
    choice.told = gr.HTML()
    *_, last = choice.on_open(str(secret), VISIT)
    assert "no other models than those of its list" in last[choice.told]
    assert chosen(choice, MODEL) == MODEL and find_model(runs, MODEL).opened is not None


def test_a_listed_model_that_cannot_be_read_tells_a_public_page_no_path(tmp_path):
    runs = Runs(PUBLIC, slots=1)
    runs.opened = OpenedModels(public=True, listed=[str(tmp_path / "gone")])
    choice = built(AttentionTab, runs).choice
    *_, last = choice.on_choose(f"{OPENED_PREFIX}gone", None, VISIT)
    assert "cannot be read" in last[choice.told] and str(tmp_path) not in last[choice.told]
    assert last[choice.list] in SHIPPED_IDS and choice.model_id not in last
    assert ("Opened: gone (cannot be read)", f"{OPENED_PREFIX}gone") in choice.choices("nobody")


def test_words_are_said_while_a_listed_model_is_read(folder, slow_reading):
    runs = Runs(PUBLIC, slots=1)
    runs.opened = OpenedModels(public=True, listed=[str(folder)])
    choice = built(AttentionTab, runs).choice
    told = [frame[choice.told] for frame in choice.on_choose(MODEL, None, VISIT)]
    assert any("Reading it: 50.0% of it so far" in words for words in told)


def test_words_are_said_while_a_model_is_read_again_that_had_made_room(attention, slow_reading):
    choice = attention.choice
    choice.opened.models.clear()
    listed, *frames = choice.on_select(MODEL, VISIT)
    assert listed[choice.list]["value"] == MODEL
    assert all(frame.keys() == {choice.told} for frame in frames), "it would undo what is chosen meanwhile"
    told = [frame[choice.told] for frame in frames]
    assert any("Reading it: 50.0% of it so far" in words for words in told) and told[-1] == ""


def test_a_model_that_had_made_room_and_cannot_be_read_again_is_no_longer_chosen(folder, monkeypatch):
    def cannot(place, *_):
        raise ValueError("no such file")

    runs = Runs(LOCAL, slots=1)
    runs.opened = OpenedModels(public=False, listed=[str(folder)])
    choice = built(AttentionTab, runs).choice
    monkeypatch.setattr(opened_models, "read_model", cannot)
    *_, last = choice.on_select(MODEL, VISIT)
    assert last[choice.list]["value"] in SHIPPED_IDS and "no such file" in last[choice.told]


def test_the_list_has_what_is_chosen_when_its_tab_comes_into_view_while_that_is_read(attention, slow_reading):
    choice, before = attention.choice, next(iter(SHIPPED_IDS))
    choice.opened.models.clear()
    choosing = choice.on_choose(MODEL, before, VISIT)
    assert "Looking for it" in next(choosing)[choice.told]
    (seen,) = choice.on_select(before, VISIT)
    assert seen.keys() == {choice.list} and seen[choice.list]["value"] == MODEL
    (other, *_) = choice.on_select(before, types.SimpleNamespace(session_hash="another page", headers={}))
    assert other[choice.list]["value"] == before
    *_, last = choosing
    assert last[choice.model_id] == MODEL and choice.choosing == {}


# ------------------------------------------------------------------------------------------------ the tabs


def test_attention_draws_the_opened_model_reading_its_own_text(attention):
    before = attention.shown.value
    updates = attention.on_look(MODEL, attention.text.value, {"serial": 1}, before)
    heads = updates[attention.drawn["heads"]]
    assert (heads["layers"], heads["heads"]) == (2, 4)
    assert "opened model “little-llama”" in updates[attention.drawn["note"]]
    assert "step" not in updates[attention.drawn["next"]]
    assert updates[attention.instead][1] == find_model(attention.runs, MODEL).excerpt


def test_heads_are_put_in_order_by_each_score(attention):
    of = find_model(attention.runs, MODEL)
    heads = attention.cache.look(of.checkpoint, of.excerpt).reading.heads
    orders = attention.pictures(of, {}, of.excerpt)["heads"]["orders"]
    assert orders["layer"] == [*range(8)]
    for name in ("entropy", "distance"):
        scores = [getattr(heads[i], name) for i in orders[name]]
        assert scores == sorted(scores) and sorted(orders[name]) == [*range(8)]


def test_of_a_text_that_is_too_long_the_last_tokens_are_read(attention):
    of = find_model(attention.runs, MODEL)
    long = CAPITALS * 4
    longest = of.checkpoint.model_config.context_length
    assert f"It reads the last {longest} of the {len(long)} tokens." in of.note(long)
    assert attention.cache.look(of.checkpoint, long).reading.weights.shape[-1] == min(longest, 128)


def test_a_look_keeps_logits_of_the_last_token_only(attention):
    of = find_model(attention.runs, MODEL)
    reading = attention.cache.look(of.checkpoint, of.excerpt).reading
    last = of.checkpoint.model().forward(of.checkpoint.last_ids(of.excerpt)[None])[0][0, -1]
    np.testing.assert_allclose(reading.logits, last[None], atol=1e-6)


def test_generate_writes_with_the_opened_model_and_shows_how_a_token_was_chosen(runs):
    tab = built(GenerateTab, runs)
    (of,) = tab.find_models(MODEL)
    looked = tab.on_look(MODEL, of.prompt, 0.8, 0, 1, 1, {"serial": 1}, None, None, VISIT)
    assert len(looked[tab.chains[0]]["rows"]) == 20
    *_, last = tab.on_write(MODEL, of.prompt, 0.8, 0, 1, 1, 20, 0, None, 0, VISIT)
    written = last[tab.texts[0]]
    assert len(written["tokens"]) == 20 and written["prompt"] == "The capital of France is"
    at = {"number": written["number"], "place": 3}
    asked = {"serial": 2, "a": at}
    chain = tab.on_look(MODEL, of.prompt, 0.8, 0, 1, 1, asked, of.key, (of.prompt, 1), VISIT)[tab.chains[0]]
    assert chain["place"] == 3 and sum(row[-1] for row in chain["rows"]) <= 1 + 1e-6


def values_of(tab):
    return [default(PROBES[key], name) for key, name in tab.fields]


def look_inside(tab, key):
    of = find_model(tab.runs, MODEL)
    return tab.on_look(MODEL, of.excerpt, {"serial": 1}, key, of.key, None, *values_of(tab))


@pytest.mark.parametrize("key", ["lens_map", "attribution", "saliency", "growth"])
def test_probes_of_a_text_answer_for_an_opened_model(inside, key):
    updates = look_inside(inside, key)
    assert f'download="{key}.csv"' in updates[inside.table]
    assert "opened model “little-llama”" in updates[inside.note]


def test_a_probe_that_searches_the_training_text_says_that_there_is_none(inside):
    assert "the opened model came without it" in look_inside(inside, "effect")[inside.table]


def test_without_held_out_text_a_change_still_shows_the_next_token(inside):
    of = find_model(inside.runs, MODEL)
    shown = inside.on_what_if(MODEL, of.excerpt, {}, "attention.0.head.1", "mean", "", 2.0)
    assert "no held-out text" in shown and "before" in shown and "tl-in-refused" not in shown


def test_an_opened_model_has_one_step_and_is_not_trained(inside):
    of = find_model(inside.runs, MODEL)
    followed = inside.on_follow(MODEL, of.excerpt, {}, FIRST, *values_of(inside))
    assert ONE_STEP in str(followed["chart"])
    with pytest.raises(ValueError, match="is not trained here"):
        bug_job(of, "no-mask")


def test_what_a_patch_is_taken_from_is_as_long_as_what_is_read(inside):
    shipped, opened = find_model(inside.runs, None), find_model(inside.runs, MODEL)
    assert other_text(shipped.checkpoint, EXCERPT) == OTHER_TEXT
    assert other_text(opened.checkpoint, CAPITALS) == OTHER_CAPITALS != CAPITALS
    assert other_text(opened.checkpoint, CAPITALS[:7]) == other_text(shipped.checkpoint, "ünknown") == ""
    shown = inside.on_what_if(MODEL, CAPITALS[:7], {}, "mlp.0", "patch", "")
    assert "tl-in-refused" not in shown, "then it is the same text with another last token"
    updates = inside.on_look(MODEL, EXCERPT, {}, "growth", shipped.key, None, *values_of(inside))
    assert updates[inside.other] == OTHER_CAPITALS
    assert inside.other not in look_inside(inside, "growth"), "what is typed there stays"


def test_what_has_one_step_is_not_offered_to_be_followed(inside):
    steady = next(key for key, kind in PROBES.items() if kind.steady)
    for run_id, is_offered in ((MODEL, False), (None, True)):
        assert inside.on_probe(steady, run_id)[inside.follow]["visible"] is is_offered
    updates = inside.on_look(MODEL, CAPITALS, {}, steady, "another", None, *values_of(inside))
    assert updates[inside.follow]["visible"] is updates[inside.over_time]["visible"] is False


def test_of_very_many_parts_the_largest_are_drawn_in_the_order_of_the_table():
    rows = [AttributionRow(f"attention.{i}", (-1) ** i * float(i % 100)) for i in range(200)]
    picture = picture_value("attribution", rows, "file")
    sizes = [abs(row[1]) for row in picture["rows"]]
    assert len(sizes) == LARGEST_ESTIMATES and min(sizes) == 80
    assert [row[0] for row in picture["rows"]] == [row.part for row in rows if abs(row.logit) >= 80]
    assert "the largest 40 of 200 rows" in picture["words"]
    assert len(picture_value("attribution", rows[:80], "file")["rows"]) == 80


# ------------------------------------------------------------------------------------------------ the process


def test_the_process_is_sent_a_place_and_no_weights(runs):
    of = find_model(runs, MODEL)
    request = of.request(of.excerpt)
    assert request.model == of.opened.source and request.model.place == runs.opened.places[MODEL]
    assert len(base64.b64encode(repr(request).encode())) < 2000


def test_the_process_reads_an_opened_model_once_and_says_how_far_it_is(runs, inspector, monkeypatch):
    of = find_model(runs, MODEL)
    inspector.end()
    received = []
    answer = inspector.answer

    def overheard(connection, seconds):
        class Heard:
            poll = connection.poll

            def recv(self):
                received.append(connection.recv())
                return received[-1]

        return answer(Heard(), seconds)

    monkeypatch.setattr(inspector, "answer", overheard)
    for text in (CAPITALS[:20], CAPITALS[:30]):
        inspector.call(tasks.probe_result, of.request(text), "growth", {})
    shares = [message.share for message in received if isinstance(message, ReadSoFar)]
    assert len(shares) == len(received) - 2 and shares == sorted(shares) and shares[-1] == 1
    assert inspector.read_so_far is None


def test_whoever_waits_for_an_opened_model_is_told_what_for(inside, monkeypatch):
    read = threading.Event()

    def slow():
        read.wait(SECONDS)
        return {inside.table: "there"}

    words = inside.told(slow, MODEL, inside.remark)
    assert "This is being computed, for" in next(words)[inside.remark]
    monkeypatch.setattr(inside.inspector, "read_so_far", 0.43)
    assert "43.0% of it so far" in next(words)[inside.remark]
    read.set()
    *_, last = words
    assert last == {inside.table: "there"}


def test_what_tells_of_waiting_is_a_generator_as_gradio_knows_one(inside):
    assert all(map(inspect.isgeneratorfunction, [inside.on_look_told, inside.on_what_if_told]))


def test_a_model_of_the_lab_is_looked_into_without_such_words(inside):
    assert [*inside.told(lambda: {inside.table: "there"}, None, inside.remark)] == [{inside.table: "there"}]


def test_whoever_waits_for_a_model_of_the_lab_is_told_so_and_sees_the_answer_before_as_such(inside):
    read = threading.Event()

    def slow():
        read.wait(SECONDS)
        return {inside.table: "there"}

    words = inside.told(slow, None, inside.note)
    first = next(words)[inside.note]
    assert "This is being computed, for" in first and "tl-meanwhile" in first
    read.set()
    *_, last = words
    assert last == {inside.table: "there"}


def test_what_a_part_does_is_told_of_the_text_that_the_table_is_of(inside, monkeypatch):
    """The page may not have put it in its box yet, or not have heard of it."""
    of, before = find_model(inside.runs, MODEL), find_model(inside.runs, None)
    read = []
    monkeypatch.setattr(inside, "on_what_if", lambda run_id, text, selection, *change: read.append(text) or "")

    def ask(text, shown, instead):
        assert [*inside.on_what_if_told(MODEL, text, {}, shown, instead, "mlp.0", "mean", "")] == [{inside.effect: ""}]
        return read[-1]

    offered = before.run.excerpt
    assert ask(offered, before.key, None) == of.run.excerpt, "nobody has chosen the text of the model before"
    assert ask(offered, of.key, [offered, of.run.excerpt]) == of.run.excerpt, "found, and not in the box yet"
    assert ask("The capital of Japan", of.key, [offered, of.run.excerpt]) == "The capital of Japan"
    assert ask("The capital of Japan", before.key, None) == "The capital of Japan"
    assert ask("The capital of Japan", before.key, ["The capital of Japan", "a"]) == "The capital of Japan"


def test_only_the_first_question_about_an_opened_model_waits_for_its_reading(runs, inspector):
    of = find_model(runs, MODEL)
    inspector.known.clear()
    inspector.call(tasks.probe_result, of.request(of.excerpt), "growth", {})
    assert inspector.known == {of.opened.source}
    inspector.call(tasks.probe_result, of.request(of.excerpt[:20]), "growth", {})
    inspector.end()
    assert not inspector.known


def test_a_model_that_is_gone_is_told_by_the_process_in_words(runs, inspector, tmp_path):
    of = find_model(runs, MODEL)
    request = of.request(of.excerpt)
    gone = request._replace(model=request.model._replace(place=str(tmp_path / "gone")))
    with pytest.raises(ValueError, match="is not there"):
        inspector.call(tasks.probe_result, gone, "growth", {})
