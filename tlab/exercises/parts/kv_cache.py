"""The exercise about reading a text in pieces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tlab.exercises.exercise import (
    EXERCISES,
    Attempt,
    Exercise,
    Problem,
    mistake,
    require,
    require_equal,
    results_by_name,
)
from tlab.exercises.parts.attention import (
    NO_SCALE,
    SCALE_ADVICE,
    WriteAttention,
    attend,
    random_heads,
    visible_keys,
)
from tlab.nn.attention import AttentionTrace, KVCache, LayerCache, causal_mask, split_heads
from tlab.nn.scores.softmaxes import masked_softmax
from tlab.training.trainer import Trainer
from tlab.types import Array


@EXERCISES.add(
    "kv_cache",
    label="KV cache",
    formula=r"\mathrm{softmax}\!\left(\frac{Q\,[K_\mathrm{past};\,K]^\top}{\sqrt{D}} + \mathrm{mask}\right) "
    r"[V_\mathrm{past};\,V]",
    source="Shazeer 2019, section 2.4",
)
class WriteKvCache(Exercise):
    """Attend to a text that comes in pieces, by keeping the keys and values of the tokens so far.

    `past` is None at the first piece, and after that what was returned the last time; what it is made of is yours to
    decide. The T tokens of a piece come after all past ones, and see these, themselves, and those before them.
    """

    part, trains = KVCache, False
    takes = {
        "queries": "(B, H, T, D), of the T new tokens alone",
        "keys": "likewise",
        "values": "likewise",
        "past": "None, or the second value that was returned for the tokens before",
    }
    gives = {"attended": "(B, H, T, D)", "past": "whatever the next piece will need"}
    PIECES = ((3, 1, 1), (1, 1, 1, 1, 1), (2, 3))

    @staticmethod
    def solution(queries, keys, values, past):
        B, H, T, D = queries.shape
        cache = KVCache(1, B, H, D, 64, queries.dtype)
        for size, old_keys, old_values in past or ():
            cache.extend(0, old_keys, old_values)
            cache.advance(size)
        all_keys, all_values = cache.extend(0, keys, values)
        S = all_keys.shape[2]
        scores = queries @ all_keys.swapaxes(-1, -2) / math.sqrt(D)
        attended = masked_softmax(scores, causal_mask(T, S, S, scores.dtype)) @ all_values
        return attended, (*(past or ()), (T, keys, values))

    def cases(self, rng):
        return [(*random_heads(30 + i), sizes) for i, sizes in enumerate(self.PIECES)]

    def inputs(self, case):
        return (*(heads.copy() for heads in case[:3]), None)

    def outputs(self, answer, case):
        queries, keys, values, sizes = case
        pieces, past, start = [], None, 0
        for size in sizes:
            now = slice(start, start + size)
            given = (queries[:, :, now].copy(), keys[:, :, now].copy(), values[:, :, now].copy())
            attended, past = both(answer(*given, past))
            pieces.append(results_by_name(attended, {"attended": ""})["attended"])
            start += size
        return {f"attended of piece {number}": piece for number, piece in enumerate(pieces, 1)}

    def promises(self):
        return {
            "a text in pieces gives the same as the whole text at once": self.equal_the_whole,
            "one past can go on in two ways": self.branch,
        }

    def equal_the_whole(self, answer: Attempt) -> None:
        queries, keys, values = random_heads(35)
        pieces = self.outputs(answer, (queries, keys, values, (2, 1, 2)))
        words = "the tokens get something else"
        require_equal(np.concatenate(list(pieces.values()), 2), WriteAttention.solution(queries, keys, values), words)

    def branch(self, answer: Attempt) -> None:
        queries, keys, values = random_heads(36)
        first, second, other = ([x[:, :, t : t + 1].copy() for x in (queries, keys, values)] for t in (0, 1, 2))
        _, past = both(answer(*first, None))
        before, _ = both(answer(*(x.copy() for x in second), past))
        both(answer(*other, past))
        after, _ = both(answer(*(x.copy() for x in second), past))
        words = (
            "a second text that went on from it changed the first: the past was written into; make a new one instead"
        )
        require_equal(after, before, words)

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        for block in trainer.model.blocks:
            replace_cache(block.attention, answer)

    @mistake(
        "past forgotten", "The new tokens see each other and none before them: put the past keys and values first."
    )
    @staticmethod
    def without_past(queries, keys, values, past):
        return attend(queries, keys, values), ()

    @mistake(
        "only the last piece kept",
        "The past that is returned has to hold all tokens so far: the old past and the new tokens after it.",
    )
    @staticmethod
    def last_piece(queries, keys, values, past):
        return attend(queries, *joined(keys, values, past)), (keys, values)

    @mistake(
        "new tokens not added to the past",
        "What the first piece has left is kept, and nothing after it: return the past together with the new tokens.",
    )
    @staticmethod
    def first_piece(queries, keys, values, past):
        return attend(queries, *joined(keys, values, past)), past or (keys, values)

    @mistake(
        "no mask among the new tokens",
        "One new token needs no mask, but of several the first must not see the last: hide what comes after a query.",
    )
    @staticmethod
    def without_mask(queries, keys, values, past):
        all_keys, all_values = joined(keys, values, past)
        return attend(queries, all_keys, all_values, visible=True), (all_keys, all_values)

    @mistake(
        "mask from the first key on",
        "The queries are the last T of the S tokens: query t may see the keys up to S - T + t, not up to t.",
    )
    @staticmethod
    def mask_from_start(queries, keys, values, past):
        all_keys, all_values = joined(keys, values, past)
        T, S = queries.shape[2], all_keys.shape[2]
        return attend(queries, all_keys, all_values, visible=visible_keys(S, S)[:T]), (all_keys, all_values)

    @mistake(
        "new tokens do not see themselves",
        "Add the new keys and values to the past before the queries look, for a token sees itself, too.",
    )
    @staticmethod
    def added_too_late(queries, keys, values, past):
        all_keys, all_values = joined(keys, values, past)
        T, S = queries.shape[2], all_keys.shape[2]
        visible = visible_keys(T, S, ahead=-1)
        if past is None:
            visible = visible_keys(T, T)
        return attend(queries, all_keys, all_values, visible=visible), (all_keys, all_values)

    @mistake("new tokens before the past", "The order is that of the text: the past first, then the new tokens.")
    @staticmethod
    def new_first(queries, keys, values, past):
        old_keys, old_values = past or (keys[:, :, :0], values[:, :, :0])
        all_keys, all_values = np.concatenate([keys, old_keys], 2), np.concatenate([values, old_values], 2)
        return attend(queries, all_keys, all_values), (all_keys, all_values)

    @mistake(NO_SCALE, SCALE_ADVICE)
    @staticmethod
    def without_scale(queries, keys, values, past):
        all_keys, all_values = joined(keys, values, past)
        return attend(queries, all_keys, all_values, scale=1.0), (all_keys, all_values)


def joined(keys: Array, values: Array, past: Any) -> tuple[Array, Array]:
    """All keys and values so far."""
    if past is None:
        return keys, values
    return np.concatenate([past[0], keys], 2), np.concatenate([past[1], values], 2)


def both(returned: Any) -> tuple[Any, Any]:
    """What an answer has returned, where it is two things."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        what = "None" if returned is None else f"one {type(returned).__name__}"
        raise Problem(f"it returned {what} where two are asked for: attended, past")
    return returned[0], returned[1]


def replace_cache(attention: Any, answer: Attempt) -> None:
    """Let the answer attend and remember; the lab's cache counts positions alone."""
    remembered: list[Any] = [None]

    def forward(x: Array, past: LayerCache | None = None, first_values: Any = None) -> tuple[Array, AttentionTrace]:
        require(past is not None, "it is for generation")
        start = past.cache.position if past else 0
        queries, keys, values = attention.split_qkv(attention.qkv.forward(x)[0])
        queries, keys = attention.position.rotate(queries, keys, start)
        remembered[0] = None if start == 0 else remembered[0]
        heads, remembered[0] = answer(queries.copy(), keys.copy(), values.copy(), remembered[0])
        attended = np.empty_like(x)
        split_heads(attended, attention.head_dim)[...] = heads
        y, _ = attention.out.forward(attended)
        return y, AttentionTrace(x, queries, keys, values, np.zeros(0), attended, start, None, None)

    attention.forward = forward
