"""A learner's own part at work: a right one to the same curve or text, another to another."""

import pytest

from tlab.exercises import EXERCISES
from tlab.exercises.beside import SAME_CURVE, generate_beside, train_beside

TRAINED = [name for name, kind in EXERCISES.items() if kind.trains]
GENERATING = [name for name, kind in EXERCISES.items() if not kind.trains]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file with enough of everything for a few steps."""
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_text("the quick brown fox jumps over the lazy dog, and over 7 others\n" * 20, encoding="utf-8")
    return str(path)


def calls_counted(answer):
    """The same answer, and the list that grows with each call."""
    calls = []

    def counted(*inputs):
        calls.append(1)
        return answer(*inputs)

    return counted, calls


def mistake(name, wanted):
    return next(known.answer for known in EXERCISES[name]().mistakes if known.name == wanted)


@pytest.mark.parametrize("name", TRAINED)
def test_the_lab_s_own_part_planted_as_an_answer_trains_to_the_same_curve(name, text):
    answer, calls = calls_counted(EXERCISES[name].solution)
    rows = list(train_beside(name, answer, text, 4))
    assert [row.step for row in rows] == [1, 2, 3, 4] and calls
    assert max(abs(row.own - row.reference) for row in rows) < SAME_CURVE


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rmsnorm", "mean over the wrong axis"),
        ("layernorm", "shift forgotten"),
        ("layernorm_backward", "mean and deviation taken for constants"),
        ("gelu_backward", "ReLU's slope"),
        ("cross_entropy", "bits in place of nats"),
        ("cross_entropy_backward", "divided by V as well"),
        ("rope", "exponent -i/D"),
        ("alibi_slopes", "heads counted from 0"),
        ("attention", "scores not divided by sqrt(D)"),
        ("attention_backward", "softmax's sum forgotten"),
        ("adamw", "bias correction forgotten"),
        ("clip_gradients", "each tensor clipped alone"),
        ("bpe_merges", "counts of the words ignored"),
    ],
)
def test_a_wrong_part_trains_to_another_curve(name, wrong, text):
    rows = list(train_beside(name, mistake(name, wrong), text, 6))
    assert max(abs(row.own - row.reference) for row in rows) > SAME_CURVE


def test_every_part_of_training_has_a_wrong_one_beside_it():
    wrong = test_a_wrong_part_trains_to_another_curve.pytestmark[0].args[1]
    assert {name for name, _ in wrong} == set(TRAINED)


@pytest.mark.parametrize("name", GENERATING)
def test_the_lab_s_own_part_planted_as_an_answer_generates_the_same_text(name, text):
    answer, calls = calls_counted(EXERCISES[name].solution)
    texts = generate_beside(name, answer, text, 3)
    assert texts.own == texts.reference and len(texts.own) == 31 and calls


@pytest.mark.parametrize(("name", "wrong"), [("kv_cache", "past forgotten"), ("top_p", "least likely tokens first")])
def test_a_wrong_part_generates_another_text(name, wrong, text):
    texts = generate_beside(name, mistake(name, wrong), text, 30)
    assert texts.own != texts.reference
