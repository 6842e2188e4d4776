"""Links to a head: what they hold, what they ask for, and what is said of those that are wrong."""

import types
from urllib.parse import parse_qsl

import pytest

from opening import llama_folder
from pages import built_tabs
from support import EVIL, GRADIO
from tlab.ui.inspection.head_link import MAX_TEXT, head_query, model_query, read_head_link
from tlab.ui.inspection.selection import find_model
from tlab.ui.opened_models import OPENED_PREFIX, OpenedModels
from tlab.ui.runs.limits import PUBLIC
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.links import HEAD_LINK, defaults, read_query
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.head_links import HeadLinks
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO

MODEL = f"{OPENED_PREFIX}little-llama"
VISIT = types.SimpleNamespace(session_hash="a page", headers={})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = llama_folder(tmp_path_factory.mktemp("models") / "little-llama")
    runs = Runs(PUBLIC, slots=1)
    runs.opened = OpenedModels(public=True, listed=[str(folder)])
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def links(runs):
    return links_of(runs)


def links_of(runs):
    _, *tabs = built_tabs([TrainTab, AttentionTab, InsideTab, GenerateTab], runs)
    links = HeadLinks(*tabs)
    links.build()
    return links


def arrive(links, query, landed="attention"):
    """What the page gets by a link to a tab, by the names of what is updated."""
    tab = links.attention
    *_, last = links.on_arrival(f"?{query}", landed, VISIT)
    names = {
        "notice": links.notice, "model": tab.model_id, "text": tab.text, "selection": tab.selection, "shown": tab.shown,
        "inside": links.inside.text, "prompt": links.generate.prompt, "step": links.inside.selection,
    }  # fmt: skip
    return {name: last[component] for name, component in names.items() if component in last}


@pytest.mark.parametrize("model_id", [MODEL, "shipped: Trained longer"])
@pytest.mark.parametrize("text", ["The capital of Japan", None])
def test_a_link_of_what_is_shown_brings_another_visitor_to_the_same(links, runs, model_id, text):
    tab = links.attention
    of = find_model(runs, model_id)
    text = text or of.excerpt
    query = tab.on_look(model_id, text, {"layer": 1, "head": 2, "serial": 1}, None)[tab.address]
    came = arrive(links, query)
    assert (came["model"], came["text"], came["notice"], came["shown"]) == (model_id, text, "", None)
    assert (came["selection"]["layer"], came["selection"]["head"]) == (1, 2)
    assert ("text" in dict(parse_qsl(query))) == (text != of.excerpt)


def test_a_link_holds_the_side_and_the_step_of_a_shipped_run(links, runs):
    of = find_model(runs, "shipped: Pre-LN or Post-LN", side=1, step=0)
    query = dict(parse_qsl(head_query(of, (0, 0), of.excerpt, of.excerpt)))
    assert query == {"model": "Pre-LN or Post-LN", "side": "b", "after": str(of.step), "layer": "1", "head": "1"}
    link = read_head_link(query, runs)
    assert (link.model_id, link.side, link.step, link.layer, link.head) == (of.key, 1, of.step, 0, 0)


def test_without_a_head_a_link_to_a_model_opens_it_with_the_head_that_it_opens_with(links, runs):
    of = find_model(runs, MODEL)
    came = arrive(links, "model=little-llama")
    expected = links.attention.opening_head(of, of.excerpt)
    assert came["text"] == of.excerpt and expected.items() <= came["selection"].items()


@pytest.mark.parametrize(("landed", "box"), [("inside", "inside"), ("generate", "prompt")])
def test_the_tab_that_a_link_leads_to_reads_its_text(links, landed, box):
    came = arrive(links, "model=little-llama&text=The+capital+of+Japan", landed)
    assert (came["model"], came[box]) == (MODEL, "The capital of Japan")
    assert {"text", "inside", "prompt"} & {*came} == {box}, "other tabs have their own, and compute nothing unseen"


@pytest.mark.parametrize(("landed", "box"), [("inside", "inside"), ("generate", "prompt")])
def test_without_a_text_the_tab_of_a_link_reads_what_it_offers_of_the_model(links, runs, landed, box):
    of = find_model(runs, MODEL)
    assert arrive(links, "model=little-llama", landed)[box] == {"inside": of.run.excerpt, "prompt": of.prompt}[box]


def test_each_list_of_models_gets_an_update_of_its_own(links):
    """Gradio empties the first of them: in the other lists the model would not be the chosen one."""
    *_, last = links.on_arrival("?model=little-llama", "generate", VISIT)
    lists = [last[tab.choice.list] for tab in (links.attention, links.inside, links.generate)]
    assert [update["value"] for update in lists] == [MODEL] * 3 and len({*map(id, lists)}) == 3


def test_a_link_to_a_head_that_leads_elsewhere_is_kept_for_attention(links):
    came = arrive(links, "model=little-llama&layer=2&head=3", "inside")
    assert (came["selection"]["layer"], came["selection"]["head"], came["shown"]) == (1, 2, None)


def test_what_the_page_still_says_of_the_head_before_does_not_count_where_a_link_leads(links):
    """It hands out one thing after another, and Attention may be asked in between."""
    tab = links.attention
    *_, last = links.on_arrival("?model=little-llama&layer=1&head=2&text=The+capital+of+Japan", "inside", VISIT)
    stale = "the name is bound", {"layer": 1, "head": 2, "side": 1, "query": 3}
    shown = tab.on_look(MODEL, *stale, last[tab.shown], last[tab.arrival])
    assert shown[tab.address] == "model=little-llama&layer=1&head=2&text=The+capital+of+Japan"
    assert shown[tab.drawn["heads"]]["chosen"] == [0, 1]
    assert shown[tab.instead] == ["the name is bound", "The capital of Japan"]
    assert shown[tab.arrival] is None, "from then on the page counts"


def test_pictures_of_the_model_before_are_pale_while_a_link_is_followed(links):
    first, *_, last = links.on_arrival("?model=little-llama&layer=1&head=2", "inside", VISIT)
    for words in (first[links.notice], last[links.attention.drawn["note"]], last[links.inside.note]):
        assert "tl-meanwhile" in words


def test_inside_looks_at_the_side_and_the_step_of_a_link(links, runs):
    of = find_model(runs, "shipped: Pre-LN or Post-LN", side=1, step=0)
    query = head_query(of, (0, 0), of.excerpt, of.excerpt)
    assert arrive(links, query, "inside")["step"] == {"side": 1, "step": of.step, "serial": 0}


def test_the_query_of_a_model_leads_to_it_and_that_of_a_run_of_ones_own_to_none(runs):
    assert read_head_link(dict(parse_qsl(model_query(runs, MODEL))), runs).model_id == MODEL
    assert model_query(runs, "visitor") == model_query(runs, None) == ""


def test_of_a_long_text_a_link_has_what_the_model_reads(runs):
    of = find_model(runs, MODEL)
    query = dict(parse_qsl(head_query(of, (0, 0), "a" * (MAX_TEXT + 1), "what it reads")))
    assert query["text"] == "what it reads"


def test_a_run_of_ones_own_is_in_no_link(runs):
    of = find_model(runs, None)
    mine = of._replace(run=types.SimpleNamespace(id="visitor", excerpt=""))
    assert head_query(mine, (0, 0), "a", "a") == ""


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=litle-llama", "There is no model called “litle-llama” here. Did you mean &#39;little-llama&#39;?"),
        ("model=/etc/passwd", "There is no model called “/etc/passwd” here."),
        ("model=little-llama&layer=3", "There is no layer 3: the model has 2."),
        ("model=little-llama&head=5", "There is no head 5: the model has 4."),
        ("layer=x", "layer = “x” is no number from 1 on."),
        ("head=0", "head = “0” is no number from 1 on."),
        ("after=-1", "after = “-1” is no number from 0 on."),
        ("side=c", "side = “c” is neither a nor b."),
        ("model=Trained+longer&text=%E4%B8%AD", "The model cannot read the text of the link, so this is another one."),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_link_is_said_and_the_rest_is_shown(links, query, words):
    came = arrive(links, query)
    assert words in came["notice"]
    assert came["text"] and came["selection"]["layer"] < 5


def test_what_a_link_says_is_escaped(links):
    came = arrive(links, f"model={EVIL}".replace("&", "%26"))
    assert "<img" not in came["notice"]


def test_a_listed_model_that_cannot_be_read_is_said_without_its_place(tmp_path):
    runs = Runs(PUBLIC, slots=1)
    runs.opened = OpenedModels(public=True, listed=[str(tmp_path / "gone")])
    came = arrive(links_of(runs), "model=gone")
    assert "This model cannot be read here at the moment." in came["notice"] and str(tmp_path) not in came["notice"]


def test_settings_and_a_head_share_an_address():
    link = read_query({"norm": "rmsnorm", **dict.fromkeys(HEAD_LINK, "1")})
    assert link.settings == {"norm": "rmsnorm"} and not link.problems
    assert not {*HEAD_LINK} & {*defaults()}
