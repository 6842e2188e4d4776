"""Probes of attention: over how much text, at which distances, and where there is too little to say anything."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig
from tlab.checks import random_model
from tlab.inside import ProbeError, Subject, probe
from tlab.inside.probes.heads import fixed, head_scores, positive_share, repeated_text
from tlab.nn.norms import NORMS
from tlab.nn.params import ParamSpace
from tlab.text import corpus_from_text


@pytest.fixture
def make(rng):
    """A checkpoint of random weights that knows the characters of a text."""

    def checkpoint(text, **changes):
        corpus = corpus_from_text(text * 20)
        model = random_model(tiny(vocab_size=corpus.tokenizer.vocab_size, **changes), rng)
        weights = {name: param.data for name, param in model.parameters.items()}
        return Checkpoint(model.config, TrainConfig(), corpus.describe(), 0, weights)

    return checkpoint


# ------------------------------------------------------------------------------------------------ text that comes twice


def test_a_text_that_comes_twice_has_each_letter_once_in_a_copy_and_what_stands_between(rng):
    letters = np.array([2, 3, 5, 7, 11])
    ids = repeated_text(letters, 4, 50, rng, np.array([0]))
    assert ids.shape == (50, 9) and (ids[:, 4] == 0).all()
    np.testing.assert_array_equal(ids[:, :4], ids[:, 5:])
    assert all(len(set(row)) == 4 and set(row) <= set(letters) for row in ids[:, :4].tolist())
    assert len({tuple(row) for row in ids.tolist()}) > 30


@pytest.mark.parametrize(
    ("text", "context_length", "is_enough"),
    [("abcd ", 9, True), ("abcd ", 8, False), ("abcd", 8, True), ("abcd", 7, False), ("abc ", 30, False)],
)
def test_two_copies_of_four_letters_have_to_fit_with_a_space_where_there_is_one(make, text, context_length, is_enough):
    checkpoint = make(text, context_length=context_length)
    if is_enough:
        assert len(probe("induction", checkpoint, text)) == 6
    else:
        with pytest.raises(ProbeError, match=f"model reads {context_length} tokens"):
            probe("induction", checkpoint, text)


def test_a_head_that_looks_at_all_alike_has_the_mean_of_one_over_t(make):
    checkpoint = make("abcdef ", context_length=13, position="none")
    for layer in range(2):
        checkpoint.weights[f"blocks.{layer}.attention.qkv.weight"][:] = 0
        checkpoint.weights[f"blocks.{layer}.attention.qkv.bias"][:] = 0
    for row in probe("induction", checkpoint, "abcdef"):
        # Places 7 to 11 are the second copy's letters but the last; places 1 to 12 have a token before them.
        assert row.induction == pytest.approx(np.mean([1 / (t + 1) for t in range(7, 12)]), rel=1e-5)
        assert row.previous == pytest.approx(np.mean([1 / (t + 1) for t in range(1, 13)]), rel=1e-5)
    (row, *_) = probe("induction", checkpoint, "abcdef", length=4)
    assert row.induction == pytest.approx(np.mean([1 / (t + 1) for t in range(5, 8)]), rel=1e-5)


# ------------------------------------------------------------------------------------------------ scores and distances


def test_scores_give_the_weights_and_are_zero_ahead(make):
    subject = Subject(make("abcdefgh", position="alibi"), "abcdefgh")
    block, trace = subject.model.blocks[1], subject.trace.blocks[1].attention
    scores = head_scores(block, trace)
    assert scores.shape == (3, 8, 8) and not np.triu(scores, 1).any()
    for t in range(8):
        row = np.exp(scores[:, t, : t + 1])
        np.testing.assert_allclose(row / row.sum(-1, keepdims=True), trace.weights[0, :, t, : t + 1], rtol=1e-6)


def test_distances_are_each_of_the_first_nine_and_then_powers_of_two(make):
    text = "abcdefghijk " * 6
    rows = probe("distance", make(text, context_length=66), text, head="1.2")
    assert {row.head for row in rows} == {"1.2"}
    assert [row.distance for row in rows] == [*range(9), 16, 32, 64]
    rows = probe("distance", make(text, context_length=64), text, head="0.0")
    assert [row.distance for row in rows][-2:] == [16, 32]  # no token has one 64 places before it


def test_the_weight_at_a_distance_is_the_mean_of_all_pairs_so_far_apart(make):
    subject = Subject(make("abcdefgh"), "abcdefgh")
    weights = subject.trace.blocks[0].attention.weights[0, 1]
    rows = probe("distance", subject.checkpoint, "abcdefgh", head="0.1")
    for row in rows:
        assert row.weight == pytest.approx(np.mean([weights[t, t - row.distance] for t in range(row.distance, 8)]))


def test_a_head_that_is_not_there_is_told_with_the_first_and_the_last(make):
    with pytest.raises(ProbeError, match=r"no head '2\.0'; heads go from 0\.0 to 1\.2"):
        probe("distance", make("abcd"), "abcd", head="2.0")


# ------------------------------------------------------------------------------------------------ circuits


def test_a_share_is_positive_as_far_as_the_eigenvalues_are():
    assert positive_share(np.diag([1.0, 2, 3])) == pytest.approx(1)
    assert positive_share(np.diag([-1.0, -2])) == pytest.approx(-1)
    assert positive_share(np.diag([3.0, -1])) == pytest.approx(0.5)
    assert positive_share(np.array([[0.0, -1], [1, 0]])) == 0  # a turn: imaginary eigenvalues
    assert positive_share(np.zeros((2, 2))) == 0


def test_what_a_norm_does_whatever_the_size_is_its_scale_and_the_mean_that_it_takes_out():
    rows = np.array([[1.0, 2, 6], [0, 0, 3]])
    for key, expected in (("rmsnorm", rows * [1, 2, 3]), ("layernorm", (rows - [[3], [1]]) * [1, 2, 3])):
        space = ParamSpace()
        norm = NORMS[key](space, "norm", 3, 1e-5)
        space.pack(0, np.dtype(np.float64))
        norm.scale.data[...] = [1, 2, 3]
        np.testing.assert_allclose(fixed(norm, rows), expected)


def test_circuits_have_the_first_blocks_values_in_them_where_the_model_mixes_them_in(make):
    checkpoint = make("abcd", norm="none", value_residual=True)
    table = {row.head: row for row in probe("circuits", checkpoint, "abcd")}
    C, D = 12, 4
    first, own = (checkpoint.weights[f"blocks.{i}.attention.qkv.weight"][:, 2 * C + D : 2 * C + 2 * D] for i in (0, 1))
    share = checkpoint.weights["blocks.1.attention.value_mix"]
    mixed = share * first + (1 - share) * own
    out = checkpoint.weights["blocks.1.attention.out.weight"][D : 2 * D]
    embedding = checkpoint.weights["embedding.weight"]
    assert table["1.1"].output == pytest.approx(np.linalg.norm(mixed @ out), rel=1e-5)
    copying = positive_share(out @ embedding.T @ embedding @ mixed)
    assert table["1.1"].copying == pytest.approx(copying, rel=1e-3, abs=1e-3)


def test_circuits_go_through_the_norms_of_the_stream_before_and_after_their_head(make):
    checkpoint = make("abcd", norm="rmsnorm", residual="post")
    weights, C, D = checkpoint.weights, 12, 4
    before = weights["blocks.0.norm1.scale"] * weights["blocks.0.norm2.scale"]
    after = weights["blocks.1.norm1.scale"] * weights["blocks.1.norm2.scale"]
    values = weights["blocks.1.attention.qkv.weight"][:, 2 * C + D : 2 * C + 2 * D]
    out = weights["blocks.1.attention.out.weight"][D : 2 * D]
    embedding = weights["embedding.weight"]
    row = probe("circuits", checkpoint, "abcd")[4]  # layer 1, head 1
    copying = positive_share(out * after @ embedding.T @ embedding * before @ values)
    assert row.head == "1.1" and row.copying == pytest.approx(copying, rel=1e-3, abs=1e-3)


def test_what_a_norm_without_a_size_does_is_what_it_does_to_small_numbers():
    space = ParamSpace()
    norm = NORMS["dyt"](space, "norm", 3, 1e-5)
    space.pack(0, np.dtype(np.float64))
    norm.scale.data[...] = [1, 2, 3]
    np.testing.assert_allclose(fixed(norm, np.array([[1.0, 2, 60]])), [[0.5, 2, 90]])


def test_the_sizes_of_circuits_are_norms_of_the_products_of_a_heads_matrices(make):
    checkpoint = make("abcd", norm="none")
    C, D = 12, 4
    row = probe("circuits", checkpoint, "abcd")[4]  # layer 1, head 1
    qkv = checkpoint.weights["blocks.1.attention.qkv.weight"]
    queries, keys, values = (qkv[:, part * C + D : part * C + 2 * D] for part in range(3))
    out = checkpoint.weights["blocks.1.attention.out.weight"][D : 2 * D]
    assert row.head == "1.1" and row.output == pytest.approx(np.linalg.norm(values @ out))
    assert row.query_key == pytest.approx(np.linalg.norm(queries @ keys.T) / 2)


@pytest.mark.parametrize("num_kv_heads", [3, 1])
def test_circuits_have_the_scales_and_the_mean_of_a_norm_over_all_heads(num_kv_heads, make):
    fields = {"qk_norm": "layernorm", "qk_norm_all_heads": True, "num_kv_heads": num_kv_heads}
    checkpoint = make("abcd", norm="none", **fields)
    name, C, D = "blocks.1.attention", 12, 4
    read = 1 if num_kv_heads == 3 else 0
    qkv = checkpoint.weights[f"{name}.qkv.weight"]
    queries, keys = qkv[:, :C], qkv[:, C : C + num_kv_heads * D]
    queries = (queries - queries.mean(1, keepdims=True)) * checkpoint.weights[f"{name}.q_norm.scale"]
    keys = (keys - keys.mean(1, keepdims=True)) * checkpoint.weights[f"{name}.k_norm.scale"]
    row = probe("circuits", checkpoint, "abcd")[4]  # layer 1, head 1
    expected = np.linalg.norm(queries[:, D : 2 * D] @ keys[:, read * D : (read + 1) * D].T) / 2
    assert row.query_key == pytest.approx(expected, rel=1e-5)
