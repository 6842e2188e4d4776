"""Probes of attention: what each head looks at, by what it goes, and what its weights alone tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.attention import attention_statistics, attention_targets, score_statistics, settled_from
from tlab.inside.contributions import check_reading, linearized, unembedding
from tlab.inside.pictures import Lines, Matrix, Points
from tlab.inside.probing import PROBES, Probe, ProbeError, Subject
from tlab.nn.attention import Attention, AttentionTrace
from tlab.nn.model import Block, Transformer
from tlab.nn.norms import Norm, NormCache
from tlab.text import Tokenizer
from tlab.types import Array, Ids

FEWEST_LETTERS = 4  # in a copy: with fewer, chance looks like a score


class HeadRow(NamedTuple):
    """One head's habits in this text."""

    head: str  # layer.head, from 0
    entropy: float
    distance: float
    previous: float
    itself: float
    first: float
    same: float
    induction: float
    positional: float


def positional_share(weights: Array) -> float:
    """How much of a head's weights (T, T) distance alone explains: 1 - var(w - mean of w at that distance) / var(w).

    Over all visible pairs but those of the first rows. 1 where the weights do not vary at all.
    """
    T = len(weights)
    queries, keys = np.tril_indices(T)
    enough = queries >= settled_from(T)
    queries, keys = queries[enough], keys[enough]
    w, distance = weights[queries, keys].astype(np.float64), queries - keys
    mean_at = np.bincount(distance, w) / np.bincount(distance)
    spread = w.var()
    return float(1 - (w - mean_at[distance]).var() / spread) if spread > 0 else 1.0


@PROBES.add(
    "heads",
    label="Attention pattern by head",
    formula=r"\overline{\sum_{s \in S} w_{ts}}",
    source="Voita et al. 2019; Olsson et al. 2022",
)
@dataclass(frozen=True)
class HeadsProbe(Probe):
    """The role of every head: where its weight goes, how far back, and whether by place or by content.

    Entropy is the spread of a row of weights, distance how far back it looks on average. Then shares of the head's
    weight, averaged over the places of the text but the first four; they overlap: on the token before (previous), on
    the token itself, on the first of the text, on earlier copies of the same token (same), and on what followed such
    a copy (induction). Positional is the part of the weights' variance that distance alone explains: 1 for a head that
    never reads, only counts.
    """

    looks_at = ("attention",)
    picture = Matrix("head", ("previous", "itself", "first", "same", "induction", "positional"))
    units: ClassVar[dict[str, str]] = {
        "entropy": "nats", "distance": "tokens", "previous": "of 1", "itself": "of 1", "first": "of 1", "same": "of 1",
        "induction": "of 1", "positional": "of 1",
    }  # fmt: skip

    def rows(self, subject: Subject) -> list[HeadRow]:
        table = []
        for row in attention_statistics(subject.trace):
            weights = subject.trace.blocks[row.layer].attention.weights[0, row.head]
            targets = attention_targets(weights, subject.ids)
            table.append(
                HeadRow(
                    f"{row.layer}.{row.head}",
                    row.entropy,
                    row.distance,
                    **{name: targets[name] for name in HeadRow._fields[3:-1]},
                    positional=positional_share(weights),
                )
            )
        return table


class InductionRow(NamedTuple):
    """One head's score on text that comes twice."""

    head: str  # layer.head, from 0
    induction: float
    previous: float


def repeated_text(ids: Ids, length: int, batch_size: int, rng: np.random.Generator, between: Ids) -> Ids:
    """(batch_size, 2 * length + len(between)): random draws from `ids`, none twice, then `between`, then the same."""
    block = np.stack([rng.permutation(ids)[:length] for _ in range(batch_size)])
    middle = np.broadcast_to(between, (batch_size, len(between)))
    return np.concatenate([block, middle, block], axis=1)


@PROBES.add(
    "induction",
    label="Induction heads",
    formula=r"\overline{w_{t,\,t-n+1}}",
    source="Olsson et al. 2022, prefix matching",
)
@dataclass(frozen=True)
class InductionProbe(Probe):
    """Which heads find what followed an earlier copy of a token, on random letters that come twice.

    The letters are some of the text's, in random order and none twice; then a space, where the model knows one, and
    the same letters again. The score is the weight from each letter of the second copy to the one after its first,
    averaged over places and draws; a head that looks at everything alike has about 1/t. "previous" is the weight on
    the token before: an induction head needs such a head in an earlier layer.
    Unlike Olsson et al., whose tokens are random and may repeat: with none twice there is one place to find.
    """

    looks_at = ("attention",)
    picture = Points("head", "previous", "induction")
    units: ClassVar[dict[str, str]] = {"induction": "of 1", "previous": "of 1"}

    length: int = option(16, low=FEWEST_LETTERS, high=1024, label="Letters in a copy",
                         help="Fewer where the text or the context has not so many.")  # fmt: skip
    draws: int = option(16, low=1, high=256, label="Random texts", help="How many are averaged over.")
    seed: int = option(0, low=0, help="Of the draw of the random texts.")

    def rows(self, subject: Subject) -> list[InductionRow]:
        tokenizer, context = subject.checkpoint.tokenizer, subject.checkpoint.model_config.context_length
        is_blank = np.array([not token_text(tokenizer, i).strip() for i in range(tokenizer.vocab_size)])
        letters = np.unique(subject.ids)
        letters = letters[~is_blank[letters]]
        space = np.array([i for i in np.flatnonzero(is_blank) if token_text(tokenizer, i) == " "], letters.dtype)
        length = min(self.length, len(letters), (context - len(space)) // 2)
        if length < FEWEST_LETTERS:
            raise ProbeError(
                f"two copies of {FEWEST_LETTERS} different characters are needed; the text has {len(letters)}, and the "
                f"model reads {context} tokens"
            )
        ids = repeated_text(letters, length, self.draws, np.random.default_rng(self.seed), space)
        _, trace = subject.model.forward(ids)
        apart = length + len(space)
        second = np.arange(apart, apart + length)
        every = np.arange(1, apart + length)
        table = []
        for layer, block in enumerate(trace.blocks):
            for head, weights in enumerate(block.attention.weights.swapaxes(0, 1)):  # (B, T, T)
                # The last letter's first copy is followed by the space, or by the second copy itself: it is left out.
                induction = weights[:, second[:-1], second[:-1] - apart + 1].mean()
                previous = weights[:, every, every - 1].mean()
                table.append(InductionRow(f"{layer}.{head}", float(induction), float(previous)))
        return table


def token_text(tokenizer: Tokenizer, token: int | np.integer) -> str:
    """What a token stands for; a byte that is no character by itself is a replacement character."""
    return tokenizer.decode(np.array([token]))


def head_scores(block: Block, attention: AttentionTrace) -> Array:
    """The scores (H, T, T) of the first text, before the softmax; 0 where a query may not look."""
    queries, keys = attention.queries[0], attention.keys[0]  # (H, T, D)
    T = queries.shape[1]
    mask = block.attention.mask(T, T, queries.dtype)
    return np.where(np.tri(T, dtype=bool), block.attention.scores(queries, keys) + mask, 0)


class QueryKeyRow(NamedTuple):
    """The size of one head's queries, keys and scores."""

    head: str  # layer.head, from 0
    query: float  # mean length
    key: float  # mean length
    cosine: float  # mean between a query and the keys that it sees
    spread: float  # standard deviation of the scores that a query sees, averaged over queries
    largest: float  # score, in absolute value


@PROBES.add(
    "query_key",
    label="Query and key statistics",
    formula=r"q_t \cdot k_s / \sqrt{D}",
    source="Vaswani et al. 2017, section 3.2",
)
@dataclass(frozen=True)
class QueryKeyProbe(Probe):
    """The lengths of queries and keys, how well they align, and how widely a head's scores spread.

    Scores are those before the softmax, with what the position kind adds or turns. A spread well above 1 makes the
    softmax a hard choice; near 0 the head looks at everything alike.
    """

    looks_at = ("attention",)
    picture = Points("head", "cosine", "spread")
    units: ClassVar[dict[str, str]] = {"spread": "nats", "largest": "nats"}

    def rows(self, subject: Subject) -> list[QueryKeyRow]:
        T = len(subject.ids)
        table = []
        for layer, (block, trace) in enumerate(zip(subject.model.blocks, subject.trace.blocks, strict=True)):
            queries, keys = trace.attention.queries[0], trace.attention.keys[0]  # (H, T, D)
            bias = np.broadcast_to(block.attention.mask(T, T, queries.dtype), (len(queries), T, T))
            for h in range(len(queries)):
                found = score_statistics(queries[h], keys[h], bias[h], subject.model.config.score_cap)
                table.append(QueryKeyRow(f"{layer}.{h}", found.query_norm, found.key_norm, found.cosine, found.spread,
                                         found.largest))  # fmt: skip
        return table


class CircuitRow(NamedTuple):
    """What one head's weights do, whatever the text."""

    head: str  # layer.head, from 0
    copying: float
    matching: float
    output: float  # Frobenius norm of V O
    query_key: float  # Frobenius norm of Q K^T / sqrt(D)


def positive_share(matrix: Array) -> float:
    """Sum of the eigenvalues over the sum of their sizes: 1 when all are positive, -1 when all are negative."""
    return float(np.trace(matrix) / max(np.abs(np.linalg.eigvals(matrix)).sum(), 1e-30))


def fixed(norm: Norm, rows: Array) -> Array:
    """What a norm does to rows (N, C) whatever their size: its scale, and taking out the mean where it does.

    One that measures no size does to them what it does to small numbers.
    """
    _, near_zero = norm.forward(np.zeros_like(rows))
    return linearized(norm, rows, NormCache(rows, np.ones((len(rows), 1))) if norm.measures_vector else near_zero)


def passed(norms: Iterable[Norm | None], rows: Array) -> Array:
    """What several norms do to rows (N, C), one after another."""
    for norm in norms:
        rows = rows if norm is None else fixed(norm, rows)
    return rows


def norms_of_stream(model: Transformer) -> list[Norm | None]:
    """The norm of the stream itself after each sublayer, attention and MLP in turns; None where nothing is done."""
    norms = [branch.norm_sum for block in model.blocks for branch in (block.attention_branch, block.mlp_branch)]
    return [None if norm is None or norm.is_identity else norm for norm in norms]


def normed(attention: Attention, norm: Norm | None, heads: Array, number: int) -> Array:
    """The matrices of queries or keys (H, C, D) -> that of one head (C, D), with the fixed part of their norm."""
    if norm is None or not attention.norms_together:
        return passed([norm], heads[number])
    return attention.as_heads(fixed(norm, attention.as_normed(heads)))[number]


def head_matrices(model: Transformer, layer: int, head: int) -> tuple[Array, Array, Array, Array]:
    """Q, K, V (C, D) and O (D, C) of one head in float64, with the fixed parts of the norms around attention."""
    block, C, D = model.blocks[layer], model.config.hidden_dim, model.config.head_dim
    qkv = block.attention.split_qkv(block.attention.qkv.weight.data[None].astype(np.float64))  # (1, H, C, D) each
    norm_in, norm_out = block.attention_branch.norm_in, block.attention_branch.norm_out
    reading = np.eye(C) if norm_in is None else fixed(norm_in, np.eye(C))
    read = head // block.attention.group_size  # the head of keys and values that it reads
    queries = normed(block.attention, block.attention.q_norm, qkv[0][0], head)
    keys = normed(block.attention, block.attention.k_norm, qkv[1][0], read)
    queries, keys, values = (reading @ part for part in (queries, keys, qkv[2][0, read]))  # (C, D) each
    out = block.attention.out.weight.data[head * D : (head + 1) * D].astype(np.float64)  # (D, C)
    return queries, keys, values, out if norm_out is None else fixed(norm_out, out)


@PROBES.add(
    "circuits",
    label="QK and OV circuits",
    formula=r"W_E W_Q W_K^\top W_E^\top,\quad W_E W_V W_O W_U",
    source="Elhage et al. 2021",
)
@dataclass(frozen=True)
class CircuitsProbe(Probe):
    """What each head does with tokens straight from the embedding: whether it copies them, or attends to its own kind.

    Copying is the sum of the eigenvalues of the circuit from the token looked at to the logits, over the sum of
    their sizes: near 1 when seeing a token makes that token likelier. Matching is the same of the circuit from
    token to token in the scores: near 1 when a token looks for itself. Both leave out what earlier blocks, norms'
    sizes and positions do (RoPE at distance 0), so for a head of a later layer they tell a part only. Where the first
    block's values are mixed in, they are in the values here, too.
    """

    looks_at = ("attention", "embedding", "head")
    picture = Points("head", "copying", "matching")

    def rows(self, subject: Subject) -> list[CircuitRow]:
        model = subject.model
        embedded = model.embedding.weight.data.astype(np.float64)  # (V, C)
        unembedded = unembedding(model).astype(np.float64)  # (C, V)
        on_the_way, unit = norms_of_stream(model), np.eye(len(unembedded))
        table, first_values = [], {}
        for layer, (block, trace) in enumerate(zip(model.blocks, subject.trace.blocks, strict=True)):
            check_reading(block.layout, block.attention_branch, trace.attention_residual)
            before, after = on_the_way[: 2 * layer], [*on_the_way[2 * layer :], model.final_norm]
            read = embedded @ passed(before, unit) if any(before) else embedded
            written = passed(after, unit) @ unembedded if any(after) else unembedded
            for head in range(model.config.num_heads):
                queries, keys, values, out = head_matrices(model, layer, head)
                # The V x V circuits have the same eigenvalues but zeros as these small D x D ones.
                seen = read @ values  # (V, D), what each token is worth to who looks at it
                if mix := block.attention.value_mix:
                    first, of_tokens = first_values[head]
                    values, seen = (
                        mix.reference(values, first, mix.share.data),
                        mix.reference(seen, of_tokens, mix.share.data),
                    )
                elif not layer:
                    first_values[head] = values, seen
                copying = positive_share(out @ written @ seen)
                matching = positive_share(keys.T @ read.T @ read @ queries)
                size = np.linalg.norm(queries @ keys.T) / np.sqrt(model.config.head_dim)
                table.append(CircuitRow(f"{layer}.{head}", copying, matching,
                                        float(np.linalg.norm(values @ out)), float(size)))  # fmt: skip
        return table


class DistanceRow(NamedTuple):
    """What one head does at one distance."""

    head: str  # layer.head, from 0
    distance: int  # tokens back
    weight: float  # mean over the queries that can look so far back
    score: float  # mean before the softmax, less the mean score of each query


@PROBES.add(
    "distance",
    label="Attention by distance",
    formula=r"\overline{w_{t,\,t-d}}",
    source="Press et al. 2022; Su et al. 2021",
)
@dataclass(frozen=True)
class DistanceProbe(Probe):
    """How a head's scores and weights fall with the distance, which the position encoding influences most.

    Averaged over all queries of the text that can look so far back. Distances 0 to 8, then powers of two. A score
    is given less the mean of the scores that its query sees, which changes no weight.
    Notice: with ALiBi the scores fall along a line, with RoPE they wave, with none only content is left.
    """

    looks_at = ("attention", "position")
    picture = Lines("distance", ("weight",), by="head", doubling=True)
    units: ClassVar[dict[str, str]] = {"distance": "tokens", "weight": "of 1", "score": "nats"}

    head: str | None = option(
        None, help="One head only, by its key, layer.head from 0: 0.2 is head 3 of layer 1.", default_words="all heads"
    )

    def rows(self, subject: Subject) -> list[DistanceRow]:
        T = len(subject.ids)
        distances = [d for d in (*range(9), *(2**k for k in range(4, 16))) if d < T]
        table = []
        for layer, (block, trace) in enumerate(zip(subject.model.blocks, subject.trace.blocks, strict=True)):
            scores = head_scores(block, trace.attention)
            for h in range(len(scores)):
                if self.head in (None, f"{layer}.{h}"):
                    means = np.array([scores[h, t, : t + 1].mean() for t in range(T)])
                    for d in distances:
                        weight = trace.attention.weights[0, h].diagonal(-d).mean()
                        score = (scores[h].diagonal(-d) - means[d:]).mean()
                        table.append(DistanceRow(f"{layer}.{h}", d, float(weight), float(score)))
        if not table:
            c = subject.model.config
            raise ProbeError(f"no head {self.head!r}; heads go from 0.0 to {c.num_layers - 1}.{c.num_heads - 1}")
        return table
