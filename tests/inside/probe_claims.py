"""What the docstring of each probe says of its numbers, checked against the model that they are of.

Run: python tests/inside/probe_claims.py [--models 120] [--seed 0]

Every model is another one: its parts, sizes and weights are drawn, and some are trained for a few steps. `CLAIMS` has
what each probe promises; `test_probe_claims.py` runs a few of these models with the suite.
"""

import argparse
import itertools
import math
import random
import sys
from collections import Counter

import numpy as np

from tlab import Checkpoint, ModelConfig, TrainConfig, Trainer
from tlab.checks import random_model
from tlab.inside import PROBES, ProbeError, Subject
from tlab.inside.probes.ablation import NO_SHARES, TOO_LITTLE
from tlab.inside.probing import log_softmax
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.inits import INITS
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.text import corpus_from_text
from tlab.wording import written

PANGRAM = "the quick brown fox jumps over the lazy dog; "
MODELS = 120


def drawn_subject(seed):
    """A small model of random parts, and a text that it reads."""
    draw = random.Random(seed)
    letters = [*dict.fromkeys(PANGRAM)]
    corpus = corpus_from_text("".join(draw.choices(letters, k=600)) + PANGRAM * 20, name="drawn")
    num_heads = draw.choice((1, 2, 3))
    config = ModelConfig(
        vocab_size=corpus.tokenizer.vocab_size,
        context_length=draw.choice((12, 16, 24)),
        hidden_dim=num_heads * draw.choice((4, 8)),
        num_layers=draw.choice((1, 2, 3)),
        num_heads=num_heads,
        norm=draw.choice([*NORMS]),
        activation=draw.choice([*ACTIVATIONS]),
        residual=draw.choice([*RESIDUALS]),
        position=draw.choice([*POSITIONS]),
        init=draw.choice([*INITS]),
        mlp_ratio=draw.choice((0.5, 1.0, 2.5)),
        bias=draw.random() < 0.5,
        tied=draw.random() < 0.5,
    )
    training = TrainConfig(steps=3, validation_every=0, batch_size=4, seed=seed)
    if draw.random() < 0.5:
        trainer = Trainer(config, training, corpus)
        for _ in trainer:
            pass
        checkpoint = trainer.checkpoint()
    else:
        model = random_model(config, np.random.default_rng(seed))
        weights = {name: param.data for name, param in model.parameters.items()}
        checkpoint = Checkpoint(config, training, corpus.describe(), 0, weights)
    return Subject(checkpoint, "".join(draw.choices(PANGRAM, k=draw.choice((9, 12, 40)))), corpus)


def near(a, b, tolerance=1e-3):
    return abs(a - b) <= tolerance * (1 + max(abs(a), abs(b)))


def is_share(value):
    return -1e-6 <= value <= 1 + 1e-6


def probabilities_of(subject, place=-1):
    return np.exp(log_softmax(subject.trace.logits[0, place].astype(np.float64)))


# --- of each probe, what it says of its numbers: sentences, and whether they hold ---


def effect(rows, asked, subject):
    yield "the interval holds the change", all(row.low <= row.loss <= row.high for row in rows)
    parts = [row.part for row in rows]
    sublayers = subject.checkpoint.model_config.num_layers * (2 + subject.checkpoint.model_config.num_heads)
    yield "a row for every head, sublayer and mechanism", len(set(parts)) == len(parts) == sublayers + 2


def next_token(rows, asked, subject):
    larger = [max(row.before, row.after) for row in rows]
    tokens = subject.checkpoint.tokenizer.tokens
    before = probabilities_of(subject)
    yield "the ten likeliest, by their larger probability", len(rows) == 10 and larger == sorted(larger, reverse=True)
    yield "before is what the model predicts", all(near(row.before, before[tokens.index(row.token)]) for row in rows)
    yield "probabilities", all(is_share(row.before) and is_share(row.after) for row in rows)


def patch(rows, asked, subject):
    compared = asked.compare(subject)
    yield (
        "the share is of the whole difference",
        all(near(row.share * compared.whole, row.logit) or abs(compared.whole) <= 1e-12 for row in rows),
    )
    remark = asked.remark(subject)
    yield "the remark tells the whole difference", f"{written(compared.whole, '+.3f')} nats" in remark
    yield "too little is marked, and only that", (NO_SHARES in remark) == (abs(compared.whole) < TOO_LITTLE)
    changed = np.flatnonzero(asked.other_ids(subject) != subject.ids)
    yield "one token was changed, and it is named", len(changed) == 1 and f"at place {changed[0]}" in remark


def gradients(rows, asked, subject):
    yield "norms", all(row.at_start >= 0 and row.now >= 0 and row.weights >= 0 for row in rows)
    yield (
        "the share is gradient over weights",
        all(near(row.now_share * row.weights, row.now) or row.weights < 1e-9 for row in rows),
    )
    if subject.checkpoint.step == 0 and subject.checkpoint.model_config == subject.model.config:
        yield "every parameter is of some part", len({row.part for row in rows}) == len(rows)


def noise(rows, asked, subject):
    (row,) = rows
    yield "the noise is none below zero, its part of the batch a share", row.noise >= 0 and is_share(row.noise_in_batch)
    yield "a signal below zero makes the scale infinite", (row.signal <= 0) == math.isinf(row.noise_scale)
    if row.signal > 0:
        yield "the scale is noise over signal", near(row.noise_scale, row.noise / row.signal)


def saliency(rows, asked, subject):
    yield "a row for each token read", [row.token for row in rows] == subject.tokens
    yield "norms", all(row.gradient >= 0 for row in rows)


def heads(rows, asked, subject):
    names = ("previous", "itself", "first", "same", "induction")
    yield "shares of the weight", all(is_share(getattr(row, name)) for row in rows for name in names)
    T = len(subject.ids)
    yield "positional is a part of the variance", all(row.positional <= 1 + 1e-6 for row in rows)
    yield "no spread beyond that of all tokens alike", all(-1e-6 <= row.entropy <= math.log(T) + 1e-6 for row in rows)
    yield "no further back than the text", all(-1e-6 <= row.distance <= T - 1 for row in rows)


def induction(rows, asked, subject):
    yield "weights", all(is_share(row.induction) and is_share(row.previous) for row in rows)


def query_key(rows, asked, subject):
    yield "a cosine", all(abs(row.cosine) <= 1 + 1e-6 for row in rows)
    yield "lengths and sizes", all(min(row.query, row.key, row.spread, row.largest) >= 0 for row in rows)


def circuits(rows, asked, subject):
    yield "between -1 and 1", all(abs(row.copying) <= 1 + 1e-6 and abs(row.matching) <= 1 + 1e-6 for row in rows)
    yield "norms", all(row.output >= 0 and row.query_key >= 0 for row in rows)


def distance(rows, asked, subject):
    yield "weights", all(is_share(row.weight) for row in rows)
    T = len(subject.ids)
    near_ones = [*range(min(9, T))]
    for head in {row.head for row in rows}:
        own = {row.distance: row for row in rows if row.head == head}
        yield "the distances that it says", [d for d in own if d < 9] == near_ones
        layer, index = map(int, head.split("."))
        weights = subject.trace.blocks[layer].attention.weights[0, index]
        yield (
            "the mean weight at that distance",
            all(near(row.weight, weights.diagonal(-d).mean()) for d, row in own.items()),
        )


def places(rows, asked, subject):
    yield "the interval holds the loss", all(row.low <= row.loss <= row.high for row in rows)
    ends = [(row.first, row.last) for row in rows]
    joined = all(after[0] == before[1] + 1 for before, after in itertools.pairwise(ends))
    yield "every position is in one group", joined and ends[0][0] == 0
    yield "the last is the context's", ends[-1][1] == subject.checkpoint.model_config.context_length - 1


def lengths(rows, asked, subject):
    trained = subject.checkpoint.model_config.context_length
    yield "the interval holds the loss", all(row.low <= row.loss <= row.high for row in rows)
    yield "lengths over the trained one", all(near(row.of_trained, row.length / trained) for row in rows)
    longest = max(row.length for row in rows)
    yield "learned positions end with the trained length", subject.model.position.unbounded or longest <= trained


def neuron(rows, asked, subject):
    values = [row.activation for row in rows]
    yield "the most active first", values == sorted(values, reverse=True)
    yield "the token in brackets", all(row.context.count("⟦") == row.context.count("⟧") == 1 for row in rows)


def says(rows, asked, subject):
    values = [row.logit for row in rows]
    yield "from the largest to the smallest", values == sorted(values, reverse=True)
    yield "above and below their mean", values[0] >= -1e-9 and values[-1] <= 1e-9


def units(rows, asked, subject):
    yield "shares", all(is_share(value) for row in rows for value in (row.dead, row.unbent, row.active))
    # A unit that is unbent has its activation's input above 3 on every token, so it is active on each.
    yield "what is unbent is active", all(row.active >= row.unbent - 1e-6 for row in rows)


def activations(rows, asked, subject):
    for layer in {row.layer for row in rows}:
        own = [row for row in rows if row.layer == layer]
        yield "shares of all inputs", near(sum(row.share for row in own), 1.0)
        yield "from minus to plus the same", near(own[0].low, -own[-1].high)


def stream(rows, asked, subject):
    yield "the shares add up to 1", near(sum(row.share for row in rows), 1.0)


def growth(rows, asked, subject):
    yield "a cosine", all(abs(row.turn) <= 1 + 1e-6 for row in rows)
    first = float(np.sqrt(np.mean(subject.trace.embedded**2)))
    yield "it begins with what is embedded", near(rows[0].before, first)
    joined = all(near(a.behind, b.before) for a, b in itertools.pairwise(rows))
    yield "what leaves a sublayer enters the next", joined


def attribution(rows, asked, subject):
    logits = subject.trace.logits[0, -1].astype(np.float64)
    total = logits.max() - logits.mean()
    yield "the rows add up to the logit less the mean", near(sum(row.logit for row in rows), total, 5e-3)


def lens(rows, asked, subject):
    probabilities, tokens = probabilities_of(subject), subject.checkpoint.tokenizer.tokens
    yield "the last row is what the model predicts", rows[-1].first == tokens[int(probabilities.argmax())]
    yield "with its probability", near(rows[-1].probability, probabilities.max())
    yield "by default the token it says in the end", rows[-1].rank == 1
    yield "rank 1 is the likeliest", all((row.rank == 1) == (row.first == row.token) for row in rows)
    yield "no token is likelier than the first", all(row.probability >= math.exp(row.logprob) - 1e-6 for row in rows)
    yield "a row for each depth", [row.depth for row in rows] == [*range(len(subject.model.blocks) + 1)]


def lens_map(rows, asked, subject):
    L, tokens = len(subject.model.blocks), subject.checkpoint.tokenizer.tokens
    yield "a row for each place and depth", len(rows) == (L + 1) * min(32, len(subject.ids))
    ends = [row for row in rows if row.depth == L]
    for row in ends:
        probabilities = probabilities_of(subject, row.place)
        yield "the last depth is what the model predicts", near(row.probability, probabilities.max())
        yield "its likeliest token", near(probabilities[tokens.index(row.first)], probabilities.max())
        yield "beside the token read", row.read == subject.tokens[row.place]
    (last,) = [row for row in PROBES["lens"]().rows(subject) if row.depth == L]
    yield "as the lens of the last place", near(ends[-1].entropy, last.entropy)


def trace(rows, asked, subject):
    yield "shares of zeros", all(is_share(row.zeros) for row in rows)
    yield (
        "the mean is between smallest and largest",
        all(row.low - 1e-6 <= row.mean <= row.high + 1e-6 and row.deviation >= 0 for row in rows),
    )
    weights = [row for row in rows if row.name.endswith("attention.weights")]
    yield "weights are shares", all(is_share(row.low) and is_share(row.high) for row in weights)


def walk(rows, asked, subject):
    logprob = log_softmax(subject.trace.logits[0, 0].astype(np.float64))[int(subject.ids[1])]
    yield "it ends with the loss of what follows", near(rows[-1].size, -float(logprob), 5e-3)
    yield "step by step", [row.step for row in rows] == [*range(len(rows))]


def update(rows, asked, subject):
    matrices = [name for name, param in subject.model.parameters.items() if param.role == "matrix"]
    yield "a row for each hidden matrix", len(rows) == len(matrices)
    yield "in order", all(row.largest >= row.median >= row.smallest >= 0 for row in rows)
    yield "evenness is a share", all(is_share(row.evenness) for row in rows)


def norms(rows, asked, subject):
    alphas = [param.data[0] for name, param in subject.model.parameters.items() if name.endswith(".alpha")]
    given = [row.steepness for row in rows]
    yield "steepness of DyT is alpha", not alphas or all(map(near, given, alphas))
    is_none = subject.checkpoint.model_config.norm == "none"
    yield "and 1 of no norm", not is_none or all(near(value, 1) for value in given)


def sinks(rows, asked, subject):
    yield "shares", all(is_share(row.first) and is_share(row.nowhere) for row in rows)
    yield "the usual softmax leaves nothing out", all(near(row.nowhere, 0) for row in rows)
    yield "lengths", all(row.value >= 0 for row in rows)


def log_z(rows, asked, subject):
    (row,) = rows
    yield "the mean is between smallest and largest", row.low - 1e-6 <= row.log_z <= row.high + 1e-6
    yield "it is above every logit", row.high >= subject.trace.logits.max() - 1e-4
    yield "no penalty is below the square of the mean", row.penalty >= row.log_z**2 * (1 - 1e-5)


def shortcuts(rows, asked, subject):
    yield "two for each block", len(rows) == 2 * len(subject.model.blocks)
    yield "nothing is weighted in the stream", all(row.weight == 1 for row in rows)


CLAIMS = {
    "effect": effect, "next": next_token, "patch": patch, "gradients": gradients, "noise": noise, "saliency": saliency,
    "heads": heads, "induction": induction, "query_key": query_key, "circuits": circuits, "distance": distance,
    "places": places, "lengths": lengths, "neuron": neuron, "says": says, "units": units, "activations": activations,
    "stream": stream, "growth": growth, "attribution": attribution, "lens": lens, "lens_map": lens_map, "trace": trace,
    "walk": walk, "update": update, "norms": norms, "sinks": sinks, "log_z": log_z, "shortcuts": shortcuts,
}  # fmt: skip
ASKED = {  # smaller than by default: it is the sentence that is checked, not the estimate
    "effect": {"count": 3}, "gradients": {"batch_size": 2}, "noise": {"batches": 4, "batch_size": 1},
    "induction": {"draws": 2}, "places": {"count": 4}, "lengths": {"tokens": 256}, "neuron": {"count": 4, "top": 4},
    "units": {"count": 3}, "activations": {"count": 3}, "update": {"batches": 2, "batch_size": 2},
}  # fmt: skip


def false_claims(seed):
    """Of the model of this seed: how many claims were checked, those that are false, and probes that have no answer."""
    subject, checked, false, silent = drawn_subject(seed), 0, [], []
    for name, claims in CLAIMS.items():
        asked = PROBES[name].from_json(ASKED.get(name, {}))
        try:
            rows = asked.rows(subject)
        except ProbeError:
            silent.append(name)
            continue
        for sentence, holds in claims(rows, asked, subject):
            checked += 1
            if not holds:
                false.append(f"seed {seed}, {name}: {sentence}; {subject.checkpoint.model_config}")
    return checked, false, silent


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    checked, wrong, silent = 0, [], Counter()
    for seed in range(asked.seed, asked.seed + asked.models):
        count, false, without = false_claims(seed)
        checked += count
        wrong += false
        silent.update(without)
    print("\n".join(wrong))
    print(f"{asked.models} models, {checked:,} sentences checked, {len(wrong)} false; no answer: {dict(silent)}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
