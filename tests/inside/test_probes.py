"""Probes, on models whose answer follows from theory."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from support import all_combinations, tiny
from tlab import Checkpoint, TrainConfig, Transformer
from tlab.checks import random_model
from tlab.config import ConfigError, options
from tlab.inside import PROBES, ProbeError, Subject, probe
from tlab.inside.contributions import unembedding
from tlab.inside.held_out import windows
from tlab.inside.interventions import INTERVENTIONS, Part, run_changed
from tlab.inside.probes.gradients import signal_and_noise
from tlab.inside.probes.heads import InductionProbe, fixed, positional_share
from tlab.inside.probes.trace import full_trace
from tlab.inside.probing import log_softmax
from tlab.nn.loss import CrossEntropy
from tlab.registry import UnknownKeyError
from tlab.text import corpus_from_text, load_corpus
from tlab.training.trainer import draw_batch

TEXT = "the quick brown"
ROOT = Path(__file__).parents[2]


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
        rows = kind().rows(subject)  # none of them refuses: what they need is there in every combination
        assert rows, name
        for row in rows:
            numbers = [value for value in row if isinstance(value, float)]
            assert not np.isnan(numbers).any(), (name, row)


def test_probes_tell_what_they_measure():
    for name, entry in PROBES.entries.items():
        assert entry.formula and entry.source and entry.summary.endswith((".", ":")), name
        assert len(entry.component.__doc__.split()) > 25, f"{name}: say how it is defined and what to notice"
        row_type = str(entry.component.rows.__annotations__.get("return"))
        assert row_type.startswith("list["), f"{name}: annotate what rows returns, list[a NamedTuple]"


@pytest.mark.parametrize("key", PROBES)
def test_the_default_of_every_option_is_one_that_is_allowed(key):
    kind = PROBES[key]
    complaints = [allowed.complaint(getattr(kind(), name)) for name, allowed in options(kind).items()]
    assert not any(complaints)


def test_a_probe_leaves_the_model_as_it_is(subject):
    before = subject.model.parameters.data.copy()
    for kind in PROBES.values():
        kind().rows(subject)
    np.testing.assert_array_equal(subject.model.parameters.data, before)


def test_a_place_counts_from_either_end_as_in_python(subject):
    T = len(TEXT)
    assert [subject.place(number) for number in (0, T - 1, -1, -T)] == [0, T - 1, T - 1, 0]
    for number in (T, -T - 1):
        with pytest.raises(ProbeError, match=f"place {number} is not there, allowed are -{T} to {T - 1}"):
            subject.place(number)


def test_a_text_is_cut_to_the_context_and_needs_two_tokens(make, corpus):
    assert len(Subject(make(), TEXT * 2, corpus).ids) == 16
    assert len(Subject(make(), "th", corpus).ids) == 2


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


def test_deeper_than_the_last_block_is_the_stream_after_it(make):
    checkpoint = make()
    assert probe("stream", checkpoint, TEXT, depth=99) == probe("stream", checkpoint, TEXT, depth=2)


def test_at_depth_zero_there_are_token_and_position_alone(make):
    for position, has in [("learned", True), ("rope", False)]:
        rows = {row.part: row for row in probe("stream", make(position=position), TEXT, depth=0)}
        assert set(rows) == {"token", "position", "offset"}
        assert (rows["position"].rms > 0) is has and rows["offset"].rms == 0


def test_the_stream_grows_as_its_sizes_say(subject):
    for row, block in zip(probe("growth", subject.checkpoint, TEXT)[::2], subject.trace.blocks, strict=True):
        assert row.before == pytest.approx(np.sqrt((block.attention_residual.x**2).mean()))
        assert row.behind == pytest.approx(np.sqrt((block.attention_residual.y**2).mean()))
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


def test_a_sublayer_that_adds_nothing_turns_the_stream_by_nothing(make, corpus):
    model = make().model()
    model.blocks[0].mlp.down.weight.data[...] = model.blocks[0].mlp.down.bias.data[...] = 0
    row = probe("growth", checkpoint_of(model, corpus), TEXT)[1]
    assert (row.part, row.turn, row.added) == ("mlp.0", 0, 0)


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
    probabilities = np.exp(logits) / np.exp(logits).sum()
    assert last.first == last.token == corpus.tokenizer.tokens[logits.argmax()]
    assert last.rank == 1 and last.probability == pytest.approx(probabilities.max())
    assert last.entropy == pytest.approx(-(probabilities * np.log(probabilities)).sum())


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


# --- effects ---


def test_a_silent_head_costs_nothing_and_a_needed_part_costs_something(make, corpus):
    checkpoint = make()
    D = checkpoint.model_config.head_dim
    checkpoint.weights["blocks.0.attention.out.weight"][:D] = 0
    table = {row.part: row for row in probe("effect", checkpoint, TEXT, corpus, change="zero")}
    silent = table["attention.0.head.0"]
    assert (silent.loss, silent.low, silent.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert {"attention.0", "mlp.1", "attention.1.head.2", "positions", "norms"} <= set(table)
    assert all(row.low <= row.loss <= row.high for row in table.values())


def test_the_effect_is_the_difference_of_two_mean_losses(make, corpus):
    subject = Subject(make(), TEXT, corpus)
    (row,) = probe("effect", subject.checkpoint, TEXT, corpus, part="mlp.1", change="zero", count=4)
    ids, targets = windows(subject, 4)
    changed, _ = run_changed(subject.model, ids, {Part(1, "mlp"): INTERVENTIONS["zero"]()})
    before, after = (CrossEntropy.forward(logits, targets)[0] for logits in (subject.model.forward(ids)[0], changed))
    assert row.loss == pytest.approx(after - before)


def test_uniform_attention_is_asked_of_attention_only(make, corpus):
    parts = [row.part for row in probe("effect", make(), TEXT, corpus, change="uniform", count=2)]
    assert "attention.0.head.0" in parts and not any(part.startswith("mlp") for part in parts)
    with pytest.raises(ProbeError, match="another text"):
        probe("effect", make(), TEXT, corpus, change="patch")


def test_the_next_tokens_chances_before_and_after_are_those_of_the_two_passes(make, corpus):
    subject = Subject(make(), TEXT, corpus)
    rows = probe("next", subject.checkpoint, TEXT, part="mlp.1")
    assert rows[0].before <= 1 and len(rows) == 10
    logits = subject.trace.logits[0, -1]
    probabilities = dict(zip(corpus.tokenizer.tokens, np.exp(logits) / np.exp(logits).sum(), strict=True))
    assert all(row.before == pytest.approx(probabilities[row.token]) for row in rows)
    assert any(row.before != row.after for row in rows)


def test_the_only_part_that_sees_the_difference_carries_all_of_it(make, corpus):
    # Attention of layer 0 is the only way from the first token to the last; all else is silent.
    checkpoint = make(num_layers=1, norm="none")
    checkpoint.weights["blocks.0.mlp.down.weight"][...] = 0
    table = {row.part: row for row in probe("patch", checkpoint, TEXT, other="o" + TEXT[1:], token="o", versus="e")}
    assert table["attention.0"].share == pytest.approx(1)
    assert table["mlp.0"].logit == pytest.approx(0, abs=1e-12)
    assert sum(table[f"attention.0.head.{h}"].share for h in range(3)) == pytest.approx(1)
    with pytest.raises(ProbeError, match="same number of tokens"):
        probe("patch", checkpoint, TEXT, other="the")


# --- neurons ---


def test_a_neuron_that_waits_for_one_letter_is_found_at_that_letter(corpus):
    model = hand_made(corpus, num_layers=1, activation="relu")
    V = model.config.vocab_size
    model.parameters["embedding.weight"].data[:, :V] = np.eye(V)
    model.parameters["head.weight"].data[:V] = np.eye(V)
    q, u = (int(corpus.tokenizer.encode(letter)[0]) for letter in "qu")
    model.parameters["blocks.0.mlp.up.weight"].data[q, 5] = 1
    model.parameters["blocks.0.mlp.down.weight"].data[5, u] = 1
    checkpoint = checkpoint_of(model, corpus)
    rows = probe("neuron", checkpoint, TEXT, corpus, neuron=5, top=3)
    assert all("⟦q⟧u" in row.context and row.then == "u" for row in rows)
    assert rows[0].activation == pytest.approx(model.config.embedding_scale)
    says = probe("says", checkpoint, TEXT, neuron=5, top=1)
    assert says[0].token == "u" and says[0].logit == pytest.approx(1 - 1 / V)
    with pytest.raises(ProbeError, match="neurons from 0"):
        probe("says", checkpoint, TEXT, neuron=5000)


def test_what_a_neuron_says_is_what_its_output_adds_to_the_logits(make, corpus):
    model = make(norm="none", residual="pre").model()
    C, F = model.config.hidden_dim, model.config.mlp_dim
    rows = probe("says", checkpoint_of(model, corpus), TEXT, layer=1, neuron=F - 1, top=3)
    direct = model.parameters["blocks.1.mlp.down.weight"].data[-1] @ model.parameters["embedding.weight"].data[:, :C].T
    assert rows[0].logit == pytest.approx((direct - direct.mean()).max())
    assert rows[-1].logit == pytest.approx((direct - direct.mean()).min())


def test_dead_and_unbent_units_are_counted(make, corpus):
    checkpoint = make(activation="relu")
    up, bias = (checkpoint.weights[f"blocks.0.mlp.up.{name}"] for name in ("weight", "bias"))
    up[:, :5] = 0
    bias[:3], bias[3:5] = -1, 10  # three that never fire, two that never stop
    row = probe("units", checkpoint, TEXT, corpus)[0]
    assert row.units == checkpoint.model_config.mlp_dim
    assert row.dead == pytest.approx(3 / row.units) and row.unbent == pytest.approx(2 / row.units)


def test_in_a_layer_that_is_wholly_dead_all_units_are(make, corpus):
    checkpoint = make(activation="relu")
    checkpoint.weights["blocks.0.mlp.up.bias"][:] = -100
    first, second = probe("units", checkpoint, TEXT, corpus)
    assert (first.dead, first.rms) == (1.0, 0.0) and second.dead < 1


@pytest.mark.parametrize("kind", ["attention", "mlp"])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_what_a_whole_part_carries_over_is_what_it_added_there(make, corpus, norm, kind):
    checkpoint = make(residual="sandwich", norm=norm)
    here, there = (Subject(checkpoint, text, corpus) for text in (TEXT, TEXT.replace("t", "j")))
    rows = probe("patch", checkpoint, TEXT, corpus, other=there.text, token="a", versus="b")
    a, b = (corpus.tokenizer.encode(token)[0] for token in "ab")

    def edit(layer, sublayer, trace):
        block = there.trace.blocks[layer]
        other = block.attention_residual if sublayer == "attention" else block.mlp_residual
        return other.branch.added if (layer, sublayer) == (1, kind) else trace.added

    logits = here.model.forward(here.ids[None], edit=edit)[0][0, -1]
    before = here.trace.logits[0, -1]
    row = next(row for row in rows if row.part == f"{kind}.1")
    assert row.logit == pytest.approx((logits[a] - logits[b]) - (before[a] - before[b]))


def test_heads_carry_over_what_the_norm_made_of_them_there(make, corpus):
    checkpoint = make(residual="sandwich", norm="rmsnorm", bias=False)
    subject = Subject(checkpoint, TEXT, corpus)
    other = subject.model.forward((subject.ids[None] + 1) % 20)[1]
    heads = {Part(0, "attention", h): INTERVENTIONS["patch"]() for h in range(checkpoint.model_config.num_heads)}
    whole = {Part(0, "attention"): INTERVENTIONS["patch"]()}
    by_heads, at_once = (run_changed(subject.model, subject.ids[None], each, other)[0] for each in (heads, whole))
    assert by_heads == pytest.approx(at_once)


@pytest.mark.parametrize("name", ["says", "circuits"])
def test_in_post_ln_the_scales_of_the_streams_norms_count(make, corpus, name):
    model = make(residual="post", norm="rmsnorm", num_layers=1, tied=False).model()
    block = model.blocks[0]
    scale = block.mlp_branch.norm_sum.scale.data  # the last norm before the head
    options = {"top": 50} if name == "says" else {}
    before = probe(name, checkpoint_of(model, corpus), TEXT, **options)
    model.parameters["head.weight"].data[...] *= scale[:, None]
    if name == "circuits":
        model.parameters["head.weight"].data[...] *= block.attention_branch.norm_sum.scale.data[:, None]
        block.attention_branch.norm_sum.scale.data[...] = 1
    scale[...] = 1
    after = probe(name, checkpoint_of(model, corpus), TEXT, **options)
    number = "logit" if name == "says" else "copying"
    assert [getattr(row, number) for row in before] == pytest.approx([getattr(row, number) for row in after], abs=1e-6)


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_the_histogram_counts_everything_once_beside_the_curve(make, corpus, activation):
    rows = probe("activations", make(activation=activation), TEXT, corpus, bins=8)
    assert sum(row.share for row in rows if row.layer == 1) == pytest.approx(1)
    assert rows[7].curve == pytest.approx((rows[7].low + rows[7].high) / 2, rel=0.05)
    assert abs(rows[0].curve) < 0.2  # far on the left nothing passes


# --- gradients ---


def test_the_gradient_at_the_start_is_that_of_a_fresh_model(corpus):
    config, training = tiny(vocab_size=corpus.tokenizer.vocab_size), TrainConfig(seed=3)
    fresh = Transformer(config, 3)
    weights = {name: param.data.copy() for name, param in fresh.parameters.items()}
    checkpoint = Checkpoint(config, training, corpus.describe(), 0, weights)
    rows = probe("gradients", checkpoint, TEXT, corpus)
    assert all(row.at_start == row.now > 0 for row in rows)
    fresh.accumulate_gradients(*draw_batch(corpus.train, 16, config.context_length, 0, 0))
    whole = np.sqrt(sum(row.now**2 for row in rows))
    assert whole == pytest.approx(np.linalg.norm(fresh.parameters.grad), rel=1e-5)
    assert [row.part for row in rows][:2] == ["embedding", "blocks.0.norm1"]


def test_signal_and_noise_are_found_in_gradients_made_of_both(rng):
    true, spread = np.array([3.0, 4.0]), 2.0
    gradients = true + spread * rng.standard_normal((200_000, 2))
    small = (gradients**2).sum(1).mean()
    big = (gradients.reshape(-1, 100, 2).mean(1) ** 2).sum(1).mean()
    signal, noise = signal_and_noise(small, big, 1, 100)
    assert signal == pytest.approx(25, rel=0.02) and noise == pytest.approx(8, rel=0.02)


def test_batches_that_are_all_alike_have_a_gradient_without_noise(rng):
    alike = corpus_from_text("a" * 400 + "b", "one letter")  # the other is in the held-out part
    model = random_model(tiny(vocab_size=alike.tokenizer.vocab_size), rng)
    (row,) = probe("noise", checkpoint_of(model, alike), "aab", alike)
    assert row.signal > 0 and row.noise < 1e-9 * row.signal and row.noise_in_batch < 1e-9


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_saliency_is_the_slope_of_the_log_chance(make, corpus, residual):
    subject = Subject(make(residual=residual), TEXT, corpus)
    rows = probe("saliency", subject.checkpoint, TEXT, token="o", place=6)
    assert [row.place for row in rows] == list(range(7))
    token, x = subject.token_id("o"), subject.trace.embedded

    def logprob(scale):
        changed = x.copy()
        changed[0, 2] *= scale
        logits, _ = subject.model.forward_embedded(changed, subject.ids[None])
        return log_softmax(logits[0, 6])[token]

    assert rows[2].product == pytest.approx((logprob(1 + 1e-6) - logprob(1 - 1e-6)) / 2e-6, rel=1e-5)


# --- lengths ---


def test_the_loss_by_place_is_the_whole_loss_when_weighted(make, corpus):
    subject = Subject(make(), TEXT, corpus)
    rows = probe("places", subject.checkpoint, TEXT, corpus, count=5)
    assert [(row.first, row.last) for row in rows] == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15)]
    ids, targets = windows(subject, 5)
    whole = CrossEntropy.forward(subject.model.forward(ids)[0], targets)[0]
    assert sum(row.loss * (row.last - row.first + 1) for row in rows) / 16 == pytest.approx(whole)


def test_learned_positions_end_with_the_trained_length_and_others_go_on(make, corpus):
    lengths = {position: [row.length for row in probe("lengths", make(position=position), TEXT, corpus)]
               for position in ("learned", "rope")}  # fmt: skip
    assert lengths == {"learned": [4, 8, 16], "rope": [4, 8, 16, 32, 64]}


def test_windows_are_of_held_out_text_and_a_text_too_short_for_one_is_told(make, corpus):
    ids, targets = windows(Subject(make(), TEXT, corpus), 3)
    np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])
    assert "".join(corpus.tokenizer.tokens[i] for i in ids[0]).replace("␣", " ") in corpus.tokenizer.decode(
        corpus.validation
    )
    with pytest.raises(ProbeError, match="too few for one window"):
        windows(Subject(make(), TEXT, corpus), 3, 5000)


def test_a_probe_that_needs_a_text_that_cannot_be_had_says_so(make):
    with pytest.raises(ProbeError, match="searches the text that the model was trained on"):
        probe("units", make(), TEXT)


def test_a_corpus_is_looked_up_by_its_name_and_has_to_be_the_text_that_it_was(rng):
    repeat = load_corpus("repeat")
    model = random_model(tiny(vocab_size=repeat.tokenizer.vocab_size), rng)
    checkpoint = checkpoint_of(model, repeat)
    assert probe("units", checkpoint, "abcd") == probe("units", checkpoint, "abcd", repeat)
    other = dataclasses.replace(checkpoint, corpus={**checkpoint.corpus, "sha256": "0" * 64})
    with pytest.raises(ProbeError, match="'repeat', which is another text here than it was"):
        probe("units", other, "abcd")


# --- the full trace ---


@pytest.fixture
def traced(make, corpus):
    """A model, its full trace over the text, and what a change of one of its parts does to the loss."""

    def trace(**changes):
        model = make(**changes).model()
        ids = corpus.tokenizer.encode(TEXT)

        def loss():
            logits, _ = model.forward(ids[None, :-1])
            return CrossEntropy.forward(logits, ids[None, 1:])[0]

        return model, full_trace(model, ids), loss

    return trace


def slope(loss, place, direction, step=1e-5):
    """Of the loss along `direction`, by finite differences; `place(h)` puts h times something in."""
    place(step * direction)
    above = loss()
    place(-step * direction)
    below = loss()
    return (above - below) / (2 * step)


class Pushed:
    """A position kind that adds `push` to queries and keys, or to the scores."""

    def __init__(self, position, where):
        self.position, self.where_pushed, self.push = position, where, 0.0

    def __getattr__(self, name):
        return getattr(self.position, name)

    @property
    def acts_on(self):
        return self.position.acts_on | {self.where_pushed}

    def rotate(self, queries, keys, start):
        rotated = np.stack(self.position.rotate(queries, keys, start))
        return tuple(rotated + self.push if self.where_pushed == "heads" else rotated)

    def score_bias(self, T, S, dtype):
        bias = self.position.score_bias(T, S, dtype)
        return bias + self.push if self.where_pushed == "scores" else bias


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("position", ["rope", "alibi"])
@pytest.mark.parametrize(("where", "names"), [("scores", ["masked"]), ("heads", ["queries", "keys"])])
def test_gradients_of_scores_queries_and_keys_are_slopes_of_the_loss(traced, rng, residual, position, where, names):
    model, trace, loss = traced(residual=residual, position=position, num_heads=2)
    attention = model.blocks[0].attention
    gradients = np.stack([trace.arrays[f"blocks.0.attention.{name}.gradient"] for name in names])
    pushed = attention.position = Pushed(attention.position, where)
    direction = rng.standard_normal(gradients.shape)
    wanted = slope(loss, lambda h: setattr(pushed, "push", h if where == "heads" else h[0]), direction)
    assert (gradients * direction).sum() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_gradients_of_what_a_bias_is_added_to_sum_up_to_the_biass_own(traced, residual, activation):
    model, trace, _ = traced(residual=residual, activation=activation)
    C = model.config.hidden_dim
    for layer in range(2):
        name = f"blocks.{layer}"
        values = trace.arrays[f"{name}.attention.values.gradient"].sum((0, 2)).ravel()
        np.testing.assert_allclose(values, model.parameters[f"{name}.attention.qkv.bias"].grad[2 * C :], rtol=1e-8)
        for part in ("up", "gate") if activation == "swiglu" else ("up",):
            summed = trace.arrays[f"{name}.mlp.{part}.gradient"].sum((0, 1))
            np.testing.assert_allclose(summed, model.parameters[f"{name}.mlp.{part}.bias"].grad, rtol=1e-8, atol=1e-15)
        if residual != "sandwich":
            added = trace.arrays[f"{name}.mlp.added.gradient"].sum((0, 1))
            np.testing.assert_allclose(added, model.parameters[f"{name}.mlp.down.bias"].grad, rtol=1e-8)


@pytest.mark.parametrize("config", all_combinations())
def test_the_trace_leaves_the_gradients_that_training_leaves(config, traced, corpus):
    changes = {slot: getattr(config, slot) for slot in ("norm", "activation", "residual", "position")}
    model, trace, _ = traced(**changes)
    found = model.parameters.grad.copy()
    model.parameters.grad[...] = 0
    ids = corpus.tokenizer.encode(TEXT)
    loss, _ = model.accumulate_gradients(ids[None, :-1], ids[None, 1:])
    np.testing.assert_allclose(found, model.parameters.grad, rtol=1e-9, atol=1e-12)
    assert trace.loss == loss


def test_every_array_has_a_gradient_an_equation_and_a_line_of_code(make):
    rows = {row.name: row for row in probe("trace", make(activation="swiglu"), TEXT)}
    forward = [name for name in rows if not name.endswith(".gradient")]
    assert [name for name in forward if f"{name}.gradient" not in rows] == ["probabilities"]
    assert all(row.equation for row in rows.values())
    file, line = rows["blocks.1.attention.weights"].line.split(":")
    code = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert "weights = self.softmax" in code[int(line) - 1]
    assert rows["blocks.0.mlp.stream"].line.startswith("tlab/nn/residuals.py:")
    only = probe("trace", make(), TEXT, name="blocks.1.mlp")
    assert only and all(row.name.startswith("blocks.1.mlp") for row in only)
    with pytest.raises(ProbeError, match="begins with"):
        probe("trace", make(), TEXT, name="block7")


def test_a_walk_goes_from_a_character_to_its_loss(make, corpus):
    subject = Subject(make(), TEXT, corpus)
    rows = probe("walk", subject.checkpoint, TEXT, place=3)
    logits = subject.trace.logits[0, 3]
    wanted = np.log(np.exp(logits).sum()) - logits[subject.ids[4]]
    assert rows[0].name == "token" and rows[-1].size == pytest.approx(wanted)
    assert [row.step for row in rows] == list(range(len(rows)))
    with pytest.raises(ProbeError, match="none after it"):
        probe("walk", subject.checkpoint, TEXT, place=len(TEXT) - 1)


def test_an_array_is_still_found_by_its_old_name(make):
    with pytest.warns(DeprecationWarning, match=r"blocks\.0\.attention\.attended"):
        rows = probe("trace", make(), TEXT, name="blocks.0.attention.mixed")
    assert [row.name for row in rows] == [f"blocks.0.attention.attended{end}" for end in ("", ".gradient")]


@pytest.mark.parametrize("layer", [0, 1])
def test_what_a_unit_says_passes_every_norm_of_the_stream_after_it(layer, make, corpus):
    checkpoint = make(residual="post", num_layers=3)
    model = checkpoint.model()
    after = [model.blocks[layer].mlp_branch.norm_sum]
    for block in model.blocks[layer + 1 :]:
        after += [block.attention_branch.norm_sum, block.mlp_branch.norm_sum]
    row = model.blocks[layer].mlp.down.weight.data[4][None]
    for norm in after:
        row = fixed(norm, row)
    logits = (row @ unembedding(model))[0]
    told = {one.token: one.logit for one in probe("says", checkpoint, TEXT, layer=layer, neuron=4, top=3)}
    tokens = checkpoint.tokenizer.tokens
    assert told == pytest.approx({token: logits[tokens.index(token)] - logits.mean() for token in told})


def test_the_map_of_the_lens_shows_the_last_places(make):
    checkpoint = make()
    whole, last = (probe("lens_map", checkpoint, TEXT, places=places) for places in (32, 3))
    T = max(row.place for row in whole) + 1
    assert {row.place for row in last} == {T - 3, T - 2, T - 1}
    assert last == [row for row in whole if row.place >= T - 3]
