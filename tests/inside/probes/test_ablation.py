"""What is changed by an ablation or a patch, and by how much."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig
from tlab.checks import random_model
from tlab.inside import PROBES, ProbeError, Subject, probe
from tlab.inside.interventions import Part, parts_of
from tlab.inside.probes.ablation import NO_SHARES, TOO_LITTLE

TEXT = "the quick"


@pytest.fixture
def checkpoint(verse, rng):
    model = random_model(tiny(vocab_size=verse.tokenizer.vocab_size, context_length=16), rng)
    weights = {name: param.data for name, param in model.parameters.items()}
    return Checkpoint(model.config, TrainConfig(), verse.describe(), 0, weights)


def test_parts_go_from_the_first_block_to_the_last_each_sublayer_before_its_heads(checkpoint):
    assert [str(part) for part in parts_of(checkpoint.model())][:6] == [
        "attention.0", "attention.0.head.0", "attention.0.head.1", "attention.0.head.2", "mlp.0", "attention.1",
    ]  # fmt: skip
    assert parts_of(checkpoint.model())[-1] == Part(1, "mlp")


@pytest.mark.parametrize("part", ["norms", "positions", "mlp.0", "attention.1.head.2"])
def test_one_part_is_one_row_whose_effect_is_that_among_all(checkpoint, verse, part):
    (row,) = probe("effect", checkpoint, TEXT, verse, part=part, count=4)
    everything = {one.part: one for one in probe("effect", checkpoint, TEXT, verse, count=4)}
    assert (row.part, row) == (part, everything[part])
    assert row.loss != 0


def test_the_ten_likeliest_of_either_pass_are_shown_by_their_larger_probability(checkpoint):
    rows = probe("next", checkpoint, TEXT, part="mlp.0")
    larger = [max(row.before, row.after) for row in rows]
    assert len(rows) == 10 and larger == sorted(larger, reverse=True)
    assert sum(row.before for row in rows) < 1


@pytest.mark.parametrize(("place", "changed"), [(-1, -1), (4, 4), (0, 0)])
def test_the_other_text_is_this_one_with_the_token_at_the_place_changed(checkpoint, verse, place, changed):
    ids = Subject(checkpoint, TEXT, verse).ids.copy()
    ids[changed] = (ids[changed] + 1) % verse.tokenizer.vocab_size
    other = verse.tokenizer.decode(ids)
    assert probe("patch", checkpoint, TEXT, place=place) == probe("patch", checkpoint, TEXT, other=other, place=place)


def test_after_the_last_token_of_the_vocabulary_comes_the_first_one(checkpoint, verse):
    first, last = (verse.tokenizer.decode([token]) for token in (0, verse.tokenizer.vocab_size - 1))
    text, other = (f"the {letter}" for letter in (last, first))
    assert probe("patch", checkpoint, text) == probe("patch", checkpoint, text, other=other)


def test_both_texts_of_a_patch_are_cut_to_the_context(checkpoint, verse):
    longer = TEXT * 20
    other = longer.replace("q", "x", 1)
    assert len(longer) > checkpoint.model_config.context_length
    assert probe("patch", checkpoint, longer, other=other)


def test_a_difference_too_small_to_share_out_is_marked(checkpoint, verse):
    subject = Subject(checkpoint, TEXT, verse)
    for other in (TEXT, "xxx quick"):
        asked = PROBES["patch"](other=other)
        small = abs(asked.compare(subject).whole) < TOO_LITTLE
        assert (NO_SHARES in asked.remark(subject)) == small
    assert NO_SHARES in PROBES["patch"](other=TEXT).remark(subject)


def test_by_default_a_patch_asks_for_this_texts_first_choice_against_that_of_the_other(checkpoint, verse):
    here, there = (Subject(checkpoint, text, verse).trace.logits[0, -1] for text in (TEXT, "xxx quick"))
    assert here.argmax() != there.argmax()
    token, versus = (verse.tokenizer.decode([int(logits.argmax())]) for logits in (here, there))
    rows = probe("patch", checkpoint, TEXT, other="xxx quick")
    assert rows == probe("patch", checkpoint, TEXT, other="xxx quick", token=token, versus=versus)


def test_two_texts_with_the_same_first_choice_are_compared_at_the_second_one_there(checkpoint, verse):
    alike = dict(checkpoint.weights)
    alike["embedding.weight"] = alike["embedding.weight"].copy()
    alike["final_norm.scale"] = alike["final_norm.scale"] * 1e-3  # the shift alone decides, the same for both texts
    same = Checkpoint(checkpoint.model_config, TrainConfig(), verse.describe(), 0, alike)
    here, there = (Subject(same, text, verse).trace.logits[0, -1] for text in (TEXT, "xxx quick"))
    assert here.argmax() == there.argmax()
    second = verse.tokenizer.decode([int(np.argsort(-there)[1])])
    rows = probe("patch", same, TEXT, other="xxx quick")
    assert rows == probe("patch", same, TEXT, other="xxx quick", versus=second)


def test_where_the_two_texts_do_not_differ_no_part_has_a_share(checkpoint):
    rows = probe("patch", checkpoint, TEXT, other=TEXT)
    assert all(row.share == 0 and abs(row.logit) < 1e-9 for row in rows)


def test_a_text_of_another_length_is_refused_with_both_numbers(checkpoint):
    with pytest.raises(ProbeError, match="has 3 tokens, this one 9"):
        probe("patch", checkpoint, TEXT, other="the")
