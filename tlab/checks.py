"""Is it right? Gradients against finite differences, and what each part is supposed to mean, for one configuration.

A gradient check alone cannot see a wrong function: a "LayerNorm" over the wrong axis has a perfectly right gradient.
So the second half asks what the parts promise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tlab.nn.config import ModelConfig
from tlab.nn.inits import INITS
from tlab.nn.loss import CrossEntropy
from tlab.nn.model import Transformer, named_arrays
from tlab.nn.norms import NORMS
from tlab.nn.scores.caps import capped
from tlab.types import Array, Ids

GRADIENT_LIMIT = 1e-6
DIFFERENCE_STEP = 1e-6  # h below: rounding costs 1e-16 / h, and a ReLU's kink is rarely this near
EXACT_LIMIT = 1e-10  # for what is equal but for rounding in float64
MAX_NARROW_DIM = 128  # beyond it even small first weights give logits that are no longer near zero
NUM_TOKENS = 6  # in each of two rows: enough for every kind of neighbour, and quick


class CheckResult(NamedTuple):
    """One question, with the answer as a number that should be small."""

    group: str  # "gradient" or "meaning"
    name: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the limit; NaN is not."""
        return self.error <= self.limit


Build = Callable[..., Transformer]  # makes a model, called as `Transformer` is: the bug lab makes one with a bug in it


def run_checks(config: ModelConfig, seed: int = 0, build: Build = Transformer) -> Iterator[CheckResult]:
    """All checks of one configuration in float64, one at a time: first the gradients, then the meaning."""
    yield from check_gradients(config, seed, build)
    yield from check_meaning(config, seed, build)


# --- gradients ---


def check_gradients(config: ModelConfig, seed: int = 0, build: Build = Transformer) -> Iterator[CheckResult]:
    """The gradient of every parameter, and of the input, along a direction.

    Along a direction v, the gradient g of the loss f at w has to give <g, v> = (f(w + hv) - f(w - hv)) / 2h.
    The error is relative to the larger of the two. Weights are random everywhere, for at the usual start half of
    the terms are zero.
    """
    rng = np.random.default_rng(seed)
    model = random_model(config, rng, build)
    ids, targets = random_ids(config, rng), random_ids(config, rng)
    model.parameters.grad[...] = 0
    logits, trace = model.forward(ids)
    _, cache = CrossEntropy.forward(logits, targets)
    dembedded = model.backward(CrossEntropy.backward(cache, logits.shape), trace)

    for name, param in model.parameters.items():
        start = param.data.copy()

        def loss_at(shifted: Array, param: Array = param.data) -> float:
            param[...] = shifted
            return CrossEntropy.forward(model.forward(ids)[0], targets)[0]

        yield CheckResult("gradient", name, directional_error(loss_at, start, param.grad, rng), GRADIENT_LIMIT)
        param.data[...] = start

    def loss_after(embedded: Array) -> float:
        return CrossEntropy.forward(model.forward_embedded(embedded, ids)[0], targets)[0]

    yield CheckResult(
        "gradient", "input", directional_error(loss_after, trace.embedded, dembedded, rng), GRADIENT_LIMIT
    )


def directional_error(f: Callable[[Array], float], x: Array, gradient: Array, rng: np.random.Generator) -> float:
    """Relative difference between the slope of f at x along a direction and what `gradient` says of it."""
    direction = rng.standard_normal(x.shape)
    direction /= np.linalg.norm(direction)
    # Half random, for what the gradient may lack; half along it, so that the slope is not lost in rounding.
    along = gradient / max(float(np.linalg.norm(gradient)), 1e-12)
    direction = along + (direction if np.sum(direction * along) >= 0 else -direction)
    direction /= np.linalg.norm(direction)
    h = DIFFERENCE_STEP
    above, below = f(x + h * direction), f(x - h * direction)
    numeric = (above - below) / (2 * h)
    analytic = float(np.sum(gradient * direction))
    # Rounding, a few times in each pass, moves `numeric` by this much: of a slope of 0, as a shift of all keys has, no
    # more is left.
    noise = 4 * np.finfo(np.float64).eps * max(1.0, abs(above)) / h
    return abs(numeric - analytic) / max(abs(numeric), abs(analytic), noise / GRADIENT_LIMIT)


def random_model(config: ModelConfig, rng: np.random.Generator, build: Build = Transformer) -> Transformer:
    """A float64 model with nothing at a special value: matrices of Glorot size, vectors spread about their start."""
    model = build(config, dtype=np.float64)
    for param in model.parameters.values():
        spread = math.sqrt(2.0 / sum(param.shape)) if param.is_decayed else 0.3
        param.data[...] = rng.normal(0.0, spread, param.shape) + (0.0 if param.is_decayed else param.data)
    return model


def random_ids(config: ModelConfig, rng: np.random.Generator) -> Ids:
    """(2, T) token ids."""
    return rng.integers(0, config.vocab_size, (2, min(NUM_TOKENS, config.context_length)))


# --- meaning ---


class Case(NamedTuple):
    """What a question of meaning is asked of."""

    config: ModelConfig
    rng: np.random.Generator
    build: Build

    def model(self) -> Transformer:
        """In float64, with random weights everywhere."""
        return random_model(self.config, self.rng, self.build)

    def ids(self) -> Ids:
        """(2, T) token ids."""
        return random_ids(self.config, self.rng)


def check_meaning(config: ModelConfig, seed: int = 0, build: Build = Transformer) -> Iterator[CheckResult]:
    """What has to hold of this configuration whatever its weights are."""
    questions: dict[str, tuple[Callable[[Case], float], float]] = {
        "norm computes its definition, token by token": (norm_against_reference, EXACT_LIMIT),
        "activation computes its definition": (activation_against_reference, EXACT_LIMIT),
        "attention computes its definition": (attention_against_reference, EXACT_LIMIT),
        "a silent block lets the stream through": (blocked_stream, 0.0),
        "training asks what validation asks": (training_against_validation, EXACT_LIMIT),
        "no token sees a later one": (leak_from_the_future, EXACT_LIMIT),
        "no text sees another in its batch": (leak_across_batch, EXACT_LIMIT),
        "attention weights sum to 1": (attention_row_sums, EXACT_LIMIT),
        "one token at a time gives the same as all at once": (cached_against_full, EXACT_LIMIT),
        "same seed, same bits": (difference_between_copies, 0.0),
        "float32 stays float32": (arrays_of_another_type, 0.0),
    }
    is_normed, is_narrow = NORMS[config.norm].has_parameters, config.hidden_dim <= MAX_NARROW_DIM
    if is_normed and is_narrow and INITS[config.init].starts_near_uniform:
        questions["first loss is that of a guess"] = (first_loss_against_uniform, 0.05)
    for name, (question, limit) in questions.items():
        yield CheckResult("meaning", name, question(Case(config, np.random.default_rng(seed), build)), limit)


def norm_against_reference(case: Case) -> float:
    """Largest difference between the norm's forward, at its first scale and shift, and its `reference`."""
    model = case.build(case.config, dtype=np.float64)
    norm = next((norm for norm in (*model.blocks[0].norms, model.final_norm) if norm is not None), None)
    if norm is None:  # the layout has no place for one
        return 0.0
    x = case.rng.normal(0.5, 2.0, (2, 3, case.config.hidden_dim))
    y, _ = norm.forward(x)
    return largest_difference(y, norm.reference(x, case.config.norm_epsilon))


def activation_against_reference(case: Case) -> float:
    """Largest difference between the activation's forward and its `reference`, far from zero and near it."""
    activation = case.build(case.config).blocks[0].mlp.activation
    inputs = [case.rng.normal(0.0, 3.0, (2, 50)) for _ in range(2 if activation.gated else 1)]
    y, _ = activation.forward(*inputs)
    return largest_difference(y, activation.reference(*inputs))


def attention_against_reference(case: Case) -> float:
    """Largest difference between a head's weights and softmax(Q K^T / sqrt(D) + bias) one query at a time."""
    model, ids = case.model(), case.ids()
    _, trace = model.forward(ids)
    D, T, cap = case.config.head_dim, ids.shape[1], case.config.score_cap
    errors = []
    for own, block in zip(model.blocks, trace.blocks, strict=True):
        biases = np.broadcast_to(own.attention.mask(T, T, np.dtype(np.float64)), (case.config.num_heads, T, T))
        queries, keys, weights = block.attention.queries, block.attention.keys, block.attention.weights
        for b, h, t in np.ndindex(weights.shape[:3]):
            products = np.array([queries[b, h, t] @ keys[b, h, s] for s in range(t + 1)]) / math.sqrt(D)
            scores = capped(products, cap) + biases[h, t, : t + 1]
            rest = own.attention.weighting.rest
            rest = rest if rest is None else np.broadcast_to(rest, (case.config.num_heads,))[h]
            expected = own.attention.weighting.reference(scores, rest)
            errors.append(largest_difference(weights[b, h, t, : t + 1], expected))
    return max(errors)


def blocked_stream(case: Case) -> float:
    """Number of layers that swallow their input when their sublayers say nothing, or change it: 0 with a shortcut.

    That they change nothing is asked of a layout that adds to the stream and does nothing else to it.
    """
    model, ids = silenced(case.model()), case.ids()
    _, one = model.forward(ids)
    _, other = model.forward((ids + 1) % case.config.vocab_size)
    wrong = 0
    for block, a, b in zip(model.blocks, one.blocks, other.blocks, strict=True):
        has_norm_of_sum = any(branch.norm_sum for branch in (block.attention_branch, block.mlp_branch))
        entered = a.attention_residual.x - b.attention_residual.x
        only_adds = block.layout.mlp_reads_sum is not None and not has_norm_of_sum
        is_changed = only_adds and largest_difference(a.y - b.y, entered) > EXACT_LIMIT
        wrong += np.array_equal(a.y, b.y) or is_changed
    return float(wrong)


def silenced(model: Transformer) -> Transformer:
    """The model with sublayers that make nothing of what they read."""
    for name, param in model.parameters.items():
        if ".out." in name or ".down." in name:
            param.data[...] = 0
    return model


def training_against_validation(case: Case) -> float:
    """Relative difference between the training loss and the validation loss on one batch."""
    model, ids, targets = case.model(), case.ids(), case.ids()
    trained, _ = model.accumulate_gradients(ids, targets)
    reported, _ = CrossEntropy.forward(model.forward(ids)[0], targets)
    return abs(trained - reported) / reported


def leak_from_the_future(case: Case) -> float:
    """Largest change of any earlier logit when one token changes, over all places of that token."""
    model, ids = case.model(), case.ids()
    logits, _ = model.forward(ids)
    leaks = [0.0]
    for t in range(1, ids.shape[1]):
        changed = ids.copy()
        changed[:, t] = (changed[:, t] + 1) % case.config.vocab_size
        leaks.append(largest_difference(model.forward(changed)[0][:, :t], logits[:, :t]))
    return max(leaks)


def leak_across_batch(case: Case) -> float:
    """Largest change of the first text's logits when the second text is another one."""
    model, ids = case.model(), case.ids()
    logits, _ = model.forward(ids)
    changed = ids.copy()
    changed[1] = (changed[1] + 1) % case.config.vocab_size
    return largest_difference(model.forward(changed)[0][0], logits[0])


def attention_row_sums(case: Case) -> float:
    """Largest distance from 1 of the sum of any token's attention weights, or what it is above 1 if there is a rest."""
    model = case.model()
    _, trace = model.forward(case.ids())
    beyond = np.array([block.attention.weights.sum(-1) - 1 for block in trace.blocks])
    has_rest = model.blocks[0].attention.weighting.rest is not None
    return float(beyond.max(initial=0.0) if has_rest else np.abs(beyond).max())


def cached_against_full(case: Case) -> float:
    """Largest difference between the logits of one whole pass and those of a prompt and single tokens after it."""
    model, ids = case.model(), case.ids()
    logits, _ = model.forward(ids)
    cache = model.new_cache(batch_size=len(ids))
    prompt = max(1, ids.shape[1] // 2)
    pieces = [model.forward(ids[:, :prompt], cache)[0]]
    pieces += [model.forward(ids[:, t : t + 1], cache)[0] for t in range(prompt, ids.shape[1])]
    return largest_difference(np.concatenate(pieces, axis=1), logits)


def difference_between_copies(case: Case) -> float:
    """Number of values that differ between two models of one seed, in weights and in logits."""
    ids = case.ids()
    one, other = case.build(case.config, seed=7), case.build(case.config, seed=7)
    weights_differ = np.count_nonzero(one.parameters.data != other.parameters.data)
    return float(weights_differ + np.count_nonzero(one.forward(ids)[0] != other.forward(ids)[0]))


def arrays_of_another_type(case: Case) -> float:
    """Number of arrays of a float32 model's pass, forward and backward, that are not float32."""
    model, ids = case.build(case.config), case.ids()
    logits, trace = model.forward(ids)
    _, cache = CrossEntropy.forward(logits, ids)
    dembedded = model.backward(CrossEntropy.backward(cache, logits.shape), trace)
    arrays = [array for _, array in named_arrays(trace)] + [cache.probabilities, dembedded]
    return float(sum(array.dtype != np.float32 for array in arrays))


def first_loss_against_uniform(case: Case) -> float:
    """How far the first loss is from log V, relative to it: the loss of a uniform guess.

    Asked of the model with a head of its own: a tied one knows the token that it just read.
    """
    config, rng = case.config, case.rng
    uniform = math.log(config.vocab_size)
    model = case.build(dataclasses.replace(config, tied=False), seed=int(rng.integers(2**31)))
    logits, _ = model.forward(rng.integers(0, config.vocab_size, (8, config.context_length)))
    loss, _ = CrossEntropy.forward(logits, rng.integers(0, config.vocab_size, (8, config.context_length)))
    return abs(loss - uniform) / uniform


def largest_difference(a: Array, b: Array) -> float:
    """Relative to the largest of b: max |a - b| / max |b|."""
    return float(np.abs(a - b).max() / max(1e-300, float(np.abs(b).max())))
