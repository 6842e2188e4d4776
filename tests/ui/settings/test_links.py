"""Links: what goes out comes back, and what arrives is checked."""

import pytest

from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.ui.settings.links import defaults, query_of, read_query


def pairs(query: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(query, keep_blank_values=True))


def test_a_link_to_the_default_settings_says_so():
    assert query_of(defaults()) == "corpus=python-docs"  # not empty: a page without a link opens with a preset


def test_every_setting_can_travel_and_comes_back_as_it_was():
    changed = {
        "norm": "rmsnorm", "bias": False, "num_layers": 3, "learning_rate": 0.1 + 0.2, "min_learning_rate": 1e-5,
        "data_seed": 7, "tokenizer": "byte", "corpus": "names", "embedding_scale": 1.0, "seed": 2**32 - 1,
    }  # fmt: skip
    link = read_query(pairs(query_of({**defaults(), **changed})))
    assert link == (changed, {}, [], [])
    assert all(type(link.settings[name]) is type(value) for name, value in changed.items())


def test_a_setting_that_has_no_default_value_can_be_given_none():
    assert read_query({"data_seed": "none"}).settings == {"data_seed": None}


def test_side_b_carries_only_what_differs_from_side_a():
    settings = {**defaults(), "norm": "rmsnorm", "steps": 50}
    query = query_of(settings, {"residual": "post"}, hidden=["seed", "optimizer"])
    assert query == "norm=rmsnorm&steps=50&b.residual=post&hide=seed,optimizer"
    assert read_query(pairs(query)) == ({"norm": "rmsnorm", "steps": 50}, {"residual": "post"},
                                        ["seed", "optimizer"], [])  # fmt: skip


def test_a_setting_that_side_b_turns_back_to_its_default_travels():
    assert query_of({**defaults(), "norm": "none"}, {"norm": "layernorm"}) == "norm=none&b.norm=layernorm"


def test_a_visitors_own_text_never_goes_into_a_link():
    assert "secret" not in query_of({**defaults(), "text": "a secret"})


def test_a_result_is_no_setting():
    query = query_of({**defaults(), "norm": "rmsnorm"}, result="x" * 16)
    assert query == f"norm=rmsnorm&result={'x' * 16}"
    assert read_query(pairs(query)) == ({"norm": "rmsnorm"}, {}, [], [])


def test_controls_can_be_hidden_one_by_one():
    assert read_query({"seed_hide": "true", "steps_hide": "false"}).hidden == ["seed"]


@pytest.mark.parametrize(
    ("name", "word", "words"),
    [
        ("nrm", "none", "no setting called “nrm”. Did you mean “norm”?"),
        ("norm", "rms", "unknown norm 'rms'; allowed: layernorm"),
        ("steps", "many", "must be of type int"),
        ("steps", "0", "must be at least 1"),
        ("steps", "1e3", "must be of type int"),
        ("learning_rate", "nan", "must be more than 0"),
        ("learning_rate", "inf", "must be more than 0"),
        ("learning_rate", "1" * 61, "has 61 characters"),
        ("bias", "maybe", "must be of type bool"),
        ("seed", "9" * 50, "at most 4294967295"),
        ("corpus", "/etc/passwd", "no text called “/etc/passwd”"),
        ("corpus", "../data/names", "no text called"),
        ("tokenizer", "wordpiece", "unknown tokenizer"),
        ("vocab_size", "9", "no setting called “vocab_size”"),
        ("hide", "start", "no setting called “start”"),
        ("b.norm", "x", "unknown norm 'x'"),
        ("b.corpus", "names", "corpus is the same for both sides"),
        ("num_heads", "7", "must divide hidden_dim"),
        ("b.num_heads", "7", "side B: num_heads = 7"),
        ("__init__", "1", None),
        ("__theme", "dark", None),
    ],
)
def test_what_is_wrong_in_a_link_is_said_in_words_and_the_rest_counts(name, word, words):
    link = read_query({"batch_size": "8", name: word})
    assert link.settings["batch_size"] == 8
    assert words in "; ".join(link.problems) if words else not link.problems


def test_side_b_can_change_one_setting_alone():
    link = read_query({"b.norm": "none", "b.bias": "false"})
    assert link.other == {"norm": "none"}
    assert link.problems == ["side B can change one setting alone: “norm” it is, and not bias"]


def test_a_link_of_nonsense_is_told_in_a_few_words():
    problems = read_query({f"x{i}" * 100: "<b>" for i in range(500)}).problems
    assert problems[-1] == "and 496 more"
    assert len("; ".join(problems)) < 600


def test_every_field_of_the_configs_but_the_vocabulary_can_be_set():
    fields = {*ModelConfig.__dataclass_fields__, *TrainConfig.__dataclass_fields__, "corpus", "tokenizer", "start_from"}
    assert defaults().keys() == fields - {"vocab_size"}


@pytest.mark.parametrize(("name", "word"), [("hidden_dim", "513"), ("steps", "5001"), ("num_layers", "13")])
def test_a_link_never_widens_what_the_page_allows(name, word):
    link = read_query({name: word})
    assert link.settings == {}
    assert "the page has at most" in link.problems[0]


def test_the_step_of_a_lesson_is_no_setting():
    link = read_query({"lesson": "loss", "step": "3", "steps": "30"})
    assert (link.settings, link.problems) == ({"steps": 30}, [])
