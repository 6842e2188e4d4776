"""Probes, on models whose answer follows from theory."""

import numpy as np
import pytest

from conftest import all_combinations, tiny
from tlab import Checkpoint, TrainConfig, Transformer
from tlab.checks import random_model
from tlab.config import ConfigError
from tlab.inside import PROBES, ProbeError, Subject, probe
from tlab.inside.heads import InductionProbe, positional_share
from tlab.registry import UnknownKeyError
from tlab.text import corpus_from_text

TEXT = "the quick brown"


@pytest.fixture(scope="module")
def corpus():
    return corpus_from_text("the quick brown fox jumps over the lazy dog; " * 40, "pangram")


def checkpoint_of(model, corpus):
    weights = {name: param.data for name, param in model.parameters.items()}
    return Checkpoint(model.config, TrainConfig(), corpus.describe(), 0, weights)


@pytest.fixture
def make(corpus, rng):
    """A checkpoint of random weights for a tiny model that reads the corpus."""

    def checkpoint(**changes):
        config = tiny(vocab_size=corpus.tokenizer.vocab_size, context_length=16, **changes)
        return checkpoint_of(random_model(config, rng), corpus)

    return checkpoint


@pytest.fixture
def subject(make, corpus):
    return Subject(make(), TEXT, corpus)


@pytest.mark.parametrize("config", all_combinations())
def test_every_probe_answers_for_every_combination(config, corpus, make):
    checkpoint = make(norm=config.norm, activation=config.activation, residual=config.residual,
                      position=config.position)  # fmt: skip
    subject = Subject(checkpoint, TEXT, corpus)
    for name, kind in PROBES.items():
        try:
            rows = kind().rows(subject)
        except ProbeError:  # it says in words why it has no meaning here
            continue
        assert rows, name
        for row in rows:
            numbers = [value for value in row if isinstance(value, float)]
            assert np.isfinite(numbers).all(), (name, row)


def test_probes_tell_what_they_measure():
    for name, entry in PROBES.entries.items():
        assert entry.formula and entry.source and entry.summary.endswith((".", ":")), name
        assert len(entry.component.__doc__.split()) > 25, name
        row_type = entry.component.rows.__annotations__["return"]
        assert row_type.startswith("list["), name


def test_a_probe_leaves_the_model_as_it_is(subject):
    before = subject.model.parameters.data.copy()
    for kind in PROBES.values():
        try:
            kind().rows(subject)
        except ProbeError:
            continue
    np.testing.assert_array_equal(subject.model.parameters.data, before)


def test_one_line_of_python_gives_a_table(make):
    rows = probe("lens", make(), TEXT, place=3)
    assert [row.depth for row in rows] == [0, 1, 2]


def test_what_cannot_be_asked_is_told(make):
    with pytest.raises(UnknownKeyError, match="Did you mean 'lens'"):
        probe("lense", make(), TEXT)
    with pytest.raises(ConfigError, match="place"):
        probe("lens", make(), TEXT, plaice=3)
    with pytest.raises(ProbeError, match="allowed are -15 to 14"):
        probe("lens", make(), TEXT, place=15)
    with pytest.raises(ProbeError, match="at least two tokens"):
        probe("lens", make(), "t")
    with pytest.raises(ProbeError, match="name exactly one"):
        probe("lens", make(), TEXT, token="the")


# --- residual stream ---


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("depth", [None, 0, 1, 2])
def test_the_shares_of_the_stream_add_up_to_one(make, residual, depth):
    rows = probe("stream", make(residual=residual), TEXT, depth=depth)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert {"token", "position", "offset"} <= {row.part for row in rows}


def test_at_depth_zero_there_are_token_and_position_alone(make):
    for position, has in [("learned", True), ("rope", False)]:
        rows = {row.part: row for row in probe("stream", make(position=position), TEXT, depth=0)}
        assert set(rows) == {"token", "position", "offset"}
        assert (rows["position"].rms > 0) is has and rows["offset"].rms == 0


def test_the_stream_grows_as_its_sizes_say(subject):
    for row, block in zip(probe("growth", subject.checkpoint, TEXT)[::2], subject.trace.blocks, strict=True):
        assert row.before == pytest.approx(np.sqrt((block.first.x**2).mean()))
        assert row.behind == pytest.approx(np.sqrt((block.first.y**2).mean()))
        assert -1 <= row.turn <= 1


def test_a_sublayer_that_adds_the_stream_itself_turns_by_one(make, corpus):
    model = make(norm="none").model()
    up, down = (model.blocks[0].mlp.inputs[0], model.blocks[0].mlp.down)
    C, far = model.config.hidden_dim, 1e4  # out there GELU is the identity
    for linear in (up, down):
        linear.weight.data[...] = np.eye(*linear.weight.shape)
        linear.bias.data[...] = 0
    up.bias.data[:C], down.bias.data[...] = far, -far
    row = probe("growth", checkpoint_of(model, corpus), TEXT)[1]
    assert row.turn == pytest.approx(1) and row.behind == pytest.approx(2 * row.before)


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_attributions_add_up_to_the_difference_of_two_logits(make, corpus, residual):
    subject = Subject(make(residual=residual), TEXT, corpus)
    rows = probe("attribution", subject.checkpoint, TEXT, token="f", versus="o", place=4)
    logits = subject.trace.logits[0, 4]
    wanted = logits[subject.token_id("f")] - logits[subject.token_id("o")]
    assert sum(row.logit for row in rows) == pytest.approx(wanted)
    alone = probe("attribution", subject.checkpoint, TEXT, token="f", place=4)
    assert sum(row.logit for row in alone) == pytest.approx(logits[subject.token_id("f")] - logits.mean())


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_the_last_row_of_the_lens_is_the_models_own_guess(make, corpus, residual):
    subject = Subject(make(residual=residual), TEXT, corpus)
    last = probe("lens", subject.checkpoint, TEXT)[-1]
    logits = subject.trace.logits[0, -1]
    chances = np.exp(logits) / np.exp(logits).sum()
    assert last.first == last.token == corpus.tokenizer.tokens[logits.argmax()]
    assert last.rank == 1 and last.chance == pytest.approx(chances.max())
    assert last.entropy == pytest.approx(-(chances * np.log(chances)).sum())


def test_a_model_without_blocks_work_says_the_same_at_every_depth(make):
    checkpoint = make()
    silent = {n: np.zeros_like(w) if ".out." in n or ".down." in n else w for n, w in checkpoint.weights.items()}
    rows = probe("lens", Checkpoint(checkpoint.model_config, TrainConfig(), checkpoint.corpus, 0, silent), TEXT)
    assert len({row[1:] for row in rows}) == 1


# --- heads ---


def hand_made(corpus, **changes):
    """A model of zeros but for ones in the norms: a blank to write known circuits on."""
    config = tiny(vocab_size=corpus.tokenizer.vocab_size, context_length=32, hidden_dim=32, num_heads=2,
                  position="none", norm="none", tied=False, **changes)  # fmt: skip
    model = Transformer(config, dtype=np.float64)
    model.parameters.data[...] = 0
    return model


def test_a_head_that_copies_has_a_copying_score_of_one_and_one_that_negates_of_minus_one(corpus):
    model = hand_made(corpus)
    V, C = model.config.vocab_size, 32
    model.parameters["embedding.weight"].data[...] = np.eye(V, C)
    model.parameters["head.weight"].data[...] = np.eye(C, V)
    D = C // 2
    for head, sign in ((0, 1.0), (1, -1.0)):
        values = model.parameters["blocks.0.attention.qkv.weight"].data[:, 2 * C + head * D : 2 * C + (head + 1) * D]
        values[:D] = np.eye(D)
        model.parameters["blocks.0.attention.out.weight"].data[head * D : (head + 1) * D, :D] = sign * np.eye(D)
        for part in (0, C):  # a query that looks for itself, and in the other head for anything else
            query = model.parameters["blocks.0.attention.qkv.weight"].data[:, part + head * D : part + (head + 1) * D]
            query[:D] = np.eye(D) * (sign if part == 0 else 1)
    rows = probe("circuits", checkpoint_of(model, corpus), TEXT)
    assert [row.copying for row in rows[:2]] == pytest.approx([1, -1])
    assert [row.matching for row in rows[:2]] == pytest.approx([1, -1])
    assert rows[2].output == rows[2].query_key == 0


def test_a_head_that_only_counts_is_positional_and_one_that_only_reads_is_not():
    T = 12
    distance = np.arange(T)[:, None] - np.arange(T)
    by_distance = np.where(distance >= 0, 0.5 ** (distance + 1.0), 0)
    assert positional_share(by_distance) == pytest.approx(1)
    by_key = np.tri(T) * (np.arange(T) % 3 == 0)
    assert positional_share(by_key) < 0.2
    assert positional_share(np.tri(T)) == 1  # weights that never vary: distance explains all there is


def test_a_hand_made_induction_head_is_found(corpus):
    # Layer 0, head 0 writes the token before into channels of its own; layer 1, head 0 looks for it there.
    config = tiny(vocab_size=corpus.tokenizer.vocab_size, context_length=32, hidden_dim=128, num_heads=2,
                  num_layers=2, position="learned", norm="none", tied=False, bias=False)  # fmt: skip
    model = Transformer(config, dtype=np.float64)
    model.parameters.data[...] = 0
    V, C, T = config.vocab_size, 128, 32
    weights = {name: param.data for name, param in model.parameters.items()}
    weights["embedding.weight"][:, :V] = np.eye(V) / config.embedding_scale  # token in channels 0 to V
    weights["position.weight"][:, 64 : 64 + T] = np.eye(T)  # position in channels 64 to 96
    first = weights["blocks.0.attention.qkv.weight"]
    first[64 + 1 : 64 + T, 0 : T - 1] = 100 * np.eye(T - 1)  # the query of place t asks for place t - 1
    first[64 : 64 + T, C : C + T] = np.eye(T)
    first[:V, 2 * C : 2 * C + V] = np.eye(V)
    weights["blocks.0.attention.out.weight"][:V, 96 : 96 + V] = np.eye(V)  # the token before, in channels 96 on
    second = weights["blocks.1.attention.qkv.weight"]
    second[:V, :V] = 100 * np.eye(V)  # I am an "a": who has an "a" before them?
    second[96 : 96 + V, C : C + V] = np.eye(V)
    scores = InductionProbe().rows(Subject(checkpoint_of(model, corpus), "quick brown fox", corpus))
    table = {row.head: row for row in scores}
    assert table["1.0"].induction > 0.9 and table["0.0"].previous > 0.9
    assert all(table[other].induction < 0.2 for other in ("0.0", "0.1", "1.1"))
    with pytest.raises(ProbeError, match="different characters"):
        InductionProbe().rows(Subject(checkpoint_of(model, corpus), "to to", corpus))


def test_scores_by_distance_are_alibis_slope_where_content_says_nothing(make, corpus):
    checkpoint = make(position="alibi", num_heads=4)
    weights = {n: np.zeros_like(w) if ".qkv." in n else w for n, w in checkpoint.weights.items()}
    rows = probe("distance", Checkpoint(checkpoint.model_config, TrainConfig(), checkpoint.corpus, 0, weights), TEXT)
    own = [row.score for row in rows if row.head == "0.0"][:2]
    at = np.arange(len(TEXT))
    less_mean = 0.25 * at / 2  # the mean distance of t visible keys, times the steepest slope of four heads
    assert own[0] == pytest.approx(less_mean.mean())
    assert own[1] == pytest.approx(less_mean[1:].mean() - 0.25)


def test_queries_and_keys_are_measured_as_they_meet(subject):
    row = probe("query_key", subject.checkpoint, TEXT)[0]
    attention = subject.trace.blocks[0].attention
    assert row.query == pytest.approx(np.linalg.norm(attention.queries[0, 0], axis=-1).mean())
    # Scores are the logarithms of the weights but for a constant in each row, so both have the same spread.
    spreads = [np.log(attention.weights[0, 0, t, : t + 1]).std() for t in range(1, len(TEXT))]
    assert row.spread == pytest.approx(np.mean(spreads))
