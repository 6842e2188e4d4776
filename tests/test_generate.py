"""Generation: the chain from scores to probabilities, and a window that slides."""

import math
from collections import Counter

import numpy as np
import pytest

import tlab.nn.attention
from support import tiny
from tlab import TrainConfig, Trainer, generate
from tlab.checks import random_model
from tlab.generate import (
    Sampling,
    candidates,
    draw,
    generate_samples,
    generate_tokens,
    keep_top_k,
    keep_top_p,
    next_token_logits,
    penalize,
    sampling_steps,
    scale,
)
from tlab.nn.attention import Attention, KVCache
from tlab.nn.loss import softmax
from tlab.nn.positions import POSITIONS, Position
from tlab.text import ByteTokenizer, UnknownCharacterError

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05]))


@pytest.fixture(scope="module")
def checkpoint(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, hidden_dim=24, context_length=16)
    trainer = Trainer(config, TrainConfig(steps=150, batch_size=8, learning_rate=1e-2, validation_every=0), verse)
    list(trainer)
    return trainer.checkpoint()


# --- sampling ---


def test_the_temperature_divides_the_logits():
    assert softmax(scale(LOGITS, 0.5)) == pytest.approx(np.array([25, 9, 2.25, 0.25]) / 36.5)
    assert softmax(scale(LOGITS, 1.0)) == pytest.approx([0.5, 0.3, 0.15, 0.05])


def test_temperature_0_leaves_the_best_token_only():
    assert softmax(scale(LOGITS[::-1], 0)) == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize("temperature", [5e-324, 1e-50, 1e-30, 1e30, 1e300])
def test_extreme_temperatures_stay_finite(temperature):
    probabilities = sampling_steps(LOGITS.astype(np.float32), Sampling(temperature)).probabilities
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities == pytest.approx([1, 0, 0, 0] if temperature < 1 else [0.25] * 4)


def test_the_chain_of_the_candidates_is_told_step_by_step():
    chain = candidates(sampling_steps(LOGITS, Sampling(0.5, top_k=3)), count=2)
    first, second = chain.candidates
    assert (first.id, second.id) == (0, 1)
    assert first.scaled == 0 and second.scaled == pytest.approx(2 * math.log(0.3 / 0.5))
    assert first.logit == pytest.approx(math.log(0.5))
    assert first.plain == pytest.approx(25 / 36.5)
    assert first.probability == pytest.approx(25 / 36.25)
    assert chain.num_kept == 3
    assert chain.cut == pytest.approx(0.25 / 36.5)
    assert chain.others == pytest.approx(2.25 / 36.25)
    shares = np.array([25, 9, 2.25]) / 36.25
    assert chain.entropy == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_token_that_was_drawn_is_among_the_candidates_however_unlikely():
    chain = candidates(sampling_steps(LOGITS, Sampling(top_p=0.6)), count=2, also=3)
    assert [row.id for row in chain.candidates] == [0, 3]
    assert [row.kept for row in chain.candidates] == [True, False]
    assert chain.candidates[1].probability == 0


def test_at_temperature_0_all_but_one_are_cut_and_nothing_is_open():
    chain = candidates(sampling_steps(LOGITS, Sampling(0)), count=9)
    assert len(chain.candidates) == 4
    assert [row.kept for row in chain.candidates] == [True, False, False, False]
    assert chain.candidates[1].scaled == -math.inf
    assert (chain.num_kept, chain.entropy, chain.others) == (1, 0, 0)


def test_scores_that_are_not_finite_are_told():
    with pytest.raises(ValueError, match="scores are not finite"):
        sampling_steps(np.array([1.0, np.inf]), Sampling())


def test_top_k_keeps_the_k_best():
    assert softmax(keep_top_k(LOGITS, 2)) == pytest.approx([0.625, 0.375, 0, 0])
    assert (keep_top_k(LOGITS, 10) == LOGITS).all()


def test_a_repetition_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    logits = np.array([2.0, -2.0, 2.0, -2.0])
    assert penalize(logits, np.array([0, 1]), 2.0).tolist() == [1.0, -4.0, 2.0, -2.0]
    assert penalize(logits, np.array([0, 1]), 0.5).tolist() == [4.0, -1.0, 2.0, -2.0]
    assert logits.tolist() == [2.0, -2.0, 2.0, -2.0]


def test_the_chain_is_in_the_order_after_the_penalty():
    first, second, *_ = candidates(
        sampling_steps(LOGITS, Sampling(repetition_penalty=5.0), seen=np.array([0])), 4
    ).candidates
    assert (first.id, first.penalized) == (1, first.logit)
    assert second.penalized == LOGITS[2]


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.5, 1), (0.6, 2), (0.8, 2), (0.81, 3), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, kept):
    order = [2, 0, 3, 1]  # not sorted
    probabilities = softmax(keep_top_p(LOGITS[order] + 1e-12, top_p))
    assert np.count_nonzero(probabilities) == kept
    assert set(np.flatnonzero(probabilities)) == {order.index(i) for i in range(kept)}


def test_the_chain_is_logits_then_scaled_then_filtered_then_probabilities():
    steps = sampling_steps(LOGITS, Sampling(0.5, top_k=2))
    assert (steps.logits == LOGITS).all()
    assert steps.scaled == pytest.approx((LOGITS - LOGITS[0]) / 0.5)
    assert list(np.isfinite(steps.filtered)) == [True, True, False, False]
    assert steps.probabilities == pytest.approx([25 / 34, 9 / 34, 0, 0])


def test_tokens_are_drawn_by_their_chance(rng):
    counts = Counter(draw(np.array([0.5, 0.0, 0.3, 0.2], np.float32), rng) for _ in range(20_000))
    assert counts[1] == 0
    for token, p in {0: 0.5, 2: 0.3, 3: 0.2}.items():
        assert counts[token] / 20_000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 20_000))


# --- generating ---


def test_a_trained_model_recites_what_it_learned(checkpoint, verse):
    text = "".join(map(str, generate(checkpoint, "the quick brown ", max_new_tokens=12, temperature=0)))
    assert text == "fox jumps ov"


def test_same_seed_same_text_and_another_seed_another(checkpoint):
    texts = ["".join(map(str, generate(checkpoint, "the ", temperature=2.0, seed=seed))) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 200


def test_a_token_tells_its_id_its_text_and_its_chance(checkpoint):
    for token in generate(checkpoint, "the ", max_new_tokens=5, temperature=1.0):
        assert checkpoint.tokenizer.decode([token.id]) == token.text == str(token)
        assert token.probability == pytest.approx(softmax(token.steps.logits)[token.id])


@pytest.mark.parametrize("settings", [{"top_k": 2}, {"top_p": 0.5}])
def test_only_tokens_that_top_k_and_top_p_leave_are_written(settings, checkpoint):
    for token in generate(checkpoint, "the ", max_new_tokens=60, temperature=5.0, **settings):
        assert token.probability > 0
        assert np.count_nonzero(token.steps.probabilities) < checkpoint.tokenizer.vocab_size


def test_no_tokens_asked_for_none_given(checkpoint):
    assert list(generate(checkpoint, "the ", max_new_tokens=0)) == []


def test_bytes_come_out_as_whole_characters(rng):
    """A model that writes a smiling face, byte by byte: the text comes with the last byte."""
    model = random_model(tiny(vocab_size=256), rng)
    tokens = list(generate_tokens(model, ByteTokenizer(), "🙂", max_new_tokens=30, temperature=3.0))
    everything = ByteTokenizer().decode([token.id for token in tokens])
    assert "".join(map(str, tokens)) == everything


# --- the window ---


def full_forward_choices(model, prompt, num_new):
    """The likeliest tokens, each by a whole forward pass over everything before."""
    ids = list(prompt)
    for _ in range(num_new):
        ids.append(int(model.forward(np.array([ids]))[0][0, -1].argmax()))
    return ids[len(prompt) :]


def cached_logits(model, tokens, prompt_length):
    """Logits for each token after the prompt, with the cache."""
    source = next_token_logits(model, np.array(tokens[:prompt_length]))
    return [next(source)[0]] + [source.send([token])[0] for token in tokens[prompt_length:]]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_cached_decoding_equals_a_full_forward(position, residual, rng):
    model = random_model(tiny(position=position, residual=residual), rng)
    tokens = rng.integers(0, 11, 8).tolist()
    full, _ = model.forward(np.array([tokens]))
    for i, logits in enumerate(cached_logits(model, tokens, prompt_length=3)):
        assert logits == pytest.approx(full[0, 2 + i], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("position", [key for key, kind in POSITIONS.items() if kind.relative])
def test_a_sliding_window_equals_a_full_forward_in_which_each_token_sees_the_window_only(position, rng, monkeypatch):
    model = random_model(tiny(position=position), rng)
    tokens = rng.integers(0, 11, 40).tolist()
    cached = cached_logits(model, tokens, prompt_length=3)
    usual = Attention.mask

    def windowed(self, num_queries, num_keys, dtype):
        distance = np.arange(num_keys)[:, None] - np.arange(num_keys)[None, :]
        return np.where(distance < 8, usual(self, num_queries, num_keys, dtype), -math.inf)

    monkeypatch.setattr(Attention, "mask", windowed)
    full, _ = model.forward(np.array([tokens]))
    for i, logits in enumerate(cached):
        assert logits == pytest.approx(full[0, 2 + i], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("position", [key for key, kind in POSITIONS.items() if not kind.relative])
def test_a_window_of_counted_positions_is_read_again_from_its_newer_half(position, rng):
    model = random_model(tiny(position=position), rng)
    tokens = rng.integers(0, 11, 12).tolist()
    cached = cached_logits(model, tokens, prompt_length=3)
    # Tokens 0 to 7 fill the window of 8. With token 8 it starts over at token 4, and holds up to token 11.
    full, _ = model.forward(np.array([tokens[4:12]]))
    for t in range(8, 12):
        assert cached[t - 2] == pytest.approx(full[0, t - 4], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("position", [key for key, kind in POSITIONS.items() if not kind.relative])
def test_so_is_every_window_of_a_long_text(position, rng):
    model = random_model(tiny(position=position), rng)
    tokens = rng.integers(0, 11, 40).tolist()
    for t, logits in enumerate(cached_logits(model, tokens, prompt_length=1)):
        begin = 0 if t < 8 else t // 4 * 4 - 4
        full, _ = model.forward(np.array([tokens[begin : t + 1]]))
        assert logits == pytest.approx(full[0, -1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("position", POSITIONS)
def test_of_a_prompt_longer_than_the_context_the_end_is_read(position, rng):
    model = random_model(tiny(position=position), rng)
    tokens = rng.integers(0, 11, 20)
    (logits,) = cached_logits(model, tokens.tolist(), prompt_length=20)
    assert logits == pytest.approx(model.forward(tokens[None, -8:])[0][0, -1], rel=1e-9)


@pytest.mark.parametrize("context_length", [1, 2, 3])
@pytest.mark.parametrize("position", POSITIONS)
def test_the_shortest_contexts_generate_too(position, context_length, rng):
    model = random_model(tiny(position=position, context_length=context_length), rng)
    assert len(cached_logits(model, [1, 2, 3, 4, 5, 6, 7], prompt_length=1)) == 7


def test_the_cache_refuses_several_tokens_at_once_that_would_have_to_slide(rng):
    model = random_model(tiny(position="rope"), rng)
    cache = model.new_cache()
    model.forward(np.zeros((1, 6), int), cache)
    with pytest.raises(ValueError, match="3 tokens at once do not fit after the 6 cached ones in a window of 8"):
        model.forward(np.zeros((1, 3), int), cache)


def test_a_cache_grows_with_its_text_and_to_twice_the_window_at_most(monkeypatch):
    monkeypatch.setattr(tlab.nn.attention, "ROOM_AT_FIRST", 2)
    cache = KVCache(1, 1, 1, 2, window=5, dtype=np.dtype(np.float32))
    rooms = []
    for number in range(50):
        cache.make_room(1)
        keys, values = cache.extend(0, np.full((1, 1, 1, 2), number), np.full((1, 1, 1, 2), -number))
        assert (keys[0, 0, :, 0] == np.arange(max(0, number - 4), number + 1)).all()
        assert (values == -keys).all()
        cache.advance(1)
        rooms.append(cache.keys.shape[3])
    assert (len(cache), cache.position) == (5, 50)
    assert rooms == [2] * 2 + [4] * 2 + [8] * 4 + [10] * 42


@pytest.mark.parametrize("switches", [{"position": "rope"}, {"value_residual": True}, {"residual": "parallel"}])
def test_a_cache_that_has_grown_gives_the_logits_of_one_that_had_room(switches, rng, monkeypatch):
    model = random_model(tiny(**switches), rng)
    ids = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    roomy = [cached_logits(model, ids, prompt_length=length) for length in (1, 3)]
    monkeypatch.setattr(tlab.nn.attention, "ROOM_AT_FIRST", 2)
    for length, expected in zip((1, 3), roomy, strict=True):
        assert np.array_equal(cached_logits(model, ids, prompt_length=length), expected)


def test_a_cache_that_is_spread_goes_on_where_it_was():
    """Also after its window slid and its last keys were moved to the front."""
    cache = KVCache(1, 1, 1, 2, window=4, dtype=np.dtype(np.float32))
    for number in range(12):
        cache.make_room(1)
        cache.extend(0, np.full((1, 1, 1, 2), number), np.full((1, 1, 1, 2), -number))
        cache.advance(1)
    many = cache.expand(3)
    assert (many.position, many.begin, many.end, len(many)) == (12, 3, 7, 4)
    for number in (12, 13):  # the second one has to move what is kept
        for one in (cache, many):
            one.make_room(1)
            keys, values = one.extend(0, np.full((1, 1, 1, 2), number), np.full((1, 1, 1, 2), -number))
            assert (keys == np.arange(number - 3, number + 1)[:, None]).all()
            assert (values == -keys).all()
            one.advance(1)


def test_position_kinds_say_whether_a_window_can_slide():
    assert {key: kind.relative for key, kind in POSITIONS.items()} == {
        "sinusoidal": False,
        "rope": True,
        "alibi": True,
        "learned": False,
        "none": False,
        "t5": True,
    }
    assert Position.relative


# --- several texts at once ---


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("prompt_length", [1, 5, 8, 20])
def test_texts_written_at_once_are_those_written_one_by_one(position, prompt_length, rng):
    """Over several windows, and with a prompt that is shorter than one, as long, and longer."""
    model = random_model(tiny(position=position, vocab_size=256), rng)
    prompt = "the quick brown fox jumps over"[:prompt_length]
    settings = {"max_new_tokens": 30, "temperature": 1.5, "top_k": 200, "top_p": 0.99}
    columns = zip(*generate_samples(model, ByteTokenizer(), prompt, samples=3, seed=5, **settings), strict=True)
    for i, together in enumerate(columns):
        alone = list(generate_tokens(model, ByteTokenizer(), prompt, seed=5 + i, **settings))
        assert [token.id for token in together] == [token.id for token in alone]
        assert "".join(map(str, together)) == "".join(map(str, alone))
        for one, other in zip(together, alone, strict=True):
            assert one.steps.logits == pytest.approx(other.steps.logits, rel=1e-9, abs=1e-12)


def test_a_text_does_not_depend_on_how_many_are_written_beside_it(checkpoint):
    def first_two(samples):
        rows = generate_samples(checkpoint.model(), checkpoint.tokenizer, "the ", samples=samples, max_new_tokens=40)
        return [[token.id for token in row[:2]] for row in rows]

    assert first_two(2) == first_two(5)


def test_no_prompt_is_read_more_than_once(rng, monkeypatch):
    model = random_model(tiny(position="rope"), rng)
    seen = []
    usual = model.score
    monkeypatch.setattr(model, "score", lambda ids, past=None: (seen.append(ids.shape), usual(ids, past))[1])
    source = next_token_logits(model, np.array([1, 2, 3]), samples=4)
    next(source)
    source.send([5, 6, 7, 8])
    assert seen == [(1, 3), (4, 1)]


@pytest.mark.parametrize("samples", [0, -1, 1.5, None])
def test_a_number_of_texts_that_cannot_be_is_refused(samples, checkpoint):
    with pytest.raises(ValueError, match=f"samples = {samples!r}: must be a whole number, 1 or more"):
        generate_samples(checkpoint.model(), checkpoint.tokenizer, "the ", samples=samples)


# --- repetition ---


def test_the_penalty_is_for_what_the_window_holds_and_no_more(checkpoint):
    prompt = "five wizards box; the quick brown fox"
    ids = checkpoint.tokenizer.encode(prompt).tolist()
    for token in generate(checkpoint, prompt, max_new_tokens=20, repetition_penalty=1.5):
        assert token.seen.tolist() == sorted(set(ids[-16:]))
        assert token.probability > 0
        ids.append(token.id)


def test_a_penalty_makes_a_text_repeat_itself_less_and_an_invitation_more(checkpoint):
    def repeats(penalty):
        written = generate(checkpoint, "the ", max_new_tokens=200, temperature=1.0, repetition_penalty=penalty)
        ids = [token.id for token in written]
        return sum(token in ids[max(0, i - 16) : i] for i, token in enumerate(ids))

    assert repeats(3.0) < repeats(1.0) < repeats(0.3)


def test_without_a_penalty_nothing_is_kept_of_what_was_seen(checkpoint):
    (token,) = generate(checkpoint, "the ", max_new_tokens=1)
    assert len(token.seen) == 0 and (token.steps.penalized == token.steps.logits).all()


# --- what cannot be generated ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1}, "temperature = -1: must be at least 0"),
        ({"temperature": math.nan}, "temperature = nan"),
        ({"top_k": 0}, "top_k = 0: must be at least 1"),
        ({"top_p": 0}, "top_p = 0: must be more than 0"),
        ({"top_p": 1.5}, "at most 1"),
        ({"max_new_tokens": -1}, "max_new_tokens = -1"),
        ({"max_new_tokens": None}, "max_new_tokens = None"),
        ({"temperature": "hot"}, "temperature = 'hot'"),
        ({"top_k": 2.5}, r"top_k = 2\.5: must be of type int"),
        ({"top_p": "most"}, "top_p = 'most'"),
        ({"repetition_penalty": 0}, "repetition_penalty = 0: must be at least 0.1 and at most 10"),
        ({"repetition_penalty": math.nan}, "repetition_penalty = nan"),
        ({"seed": None}, "seed = None: must be a whole number"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_the_first_token(changes, message, checkpoint):
    with pytest.raises(ValueError, match=message):
        generate(checkpoint, "the ", **changes)


def test_an_empty_prompt_is_refused(checkpoint):
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate(checkpoint, "")


def test_unknown_characters_in_a_prompt_are_named(checkpoint):
    with pytest.raises(UnknownCharacterError, match=r"'É' \(U\+00C9\)"):
        generate(checkpoint, "É")
