"""One measure for models of different tokenizers: bits per byte, the loss of a text over its length in UTF-8.

A token of one tokenizer is not one of another, and neither is a loss per token; the bytes of a text stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NATS_PER_TOKEN, BITS_PER_BYTE = "nats per token", "bits per byte"


class BytesPerToken(NamedTuple):
    """UTF-8 bytes that a predicted token stands for, on average over each part of a corpus."""

    train: float
    validation: float


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """A mean loss as bits per byte: total nats over ln 2 and the UTF-8 bytes of the text that was predicted."""
    return nats_per_token / (math.log(2) * bytes_per_token)


def bits_per_nat(rows: Sequence[Mapping[str, Any]], part: str) -> list[float | None]:
    """What a nat per token is in bits per byte in each row of a sweep's table, for its "train" or "val" text.

    None where nothing says it.

    Rows of early versions have tokens per character at most. Those of the byte tokenizer are then bytes per character,
    by which the other tokenizers' rows of the same text are known, too.
    """
    bytes_per_character = {
        row.get("corpus"): ratio
        for row in rows
        if row.get("tokenizer") == "byte" and (ratio := usable_ratio(row.get("tokens_per_character")))
    }

    def bytes_per_token(row: Mapping[str, Any]) -> float | None:
        if row.get("tokenizer") == "byte":
            return 1.0
        if recorded := usable_ratio(row.get(f"{part}_bytes_per_token")):
            return recorded
        tokens = usable_ratio(row.get("tokens_per_character")) or (1.0 if row.get("tokenizer") == "char" else None)
        of_text = bytes_per_character.get(row.get("corpus"))
        return of_text / tokens if tokens and of_text else None

    return [bits_per_byte(1.0, ratio) if ratio else None for ratio in map(bytes_per_token, rows)]


def has_one_token(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether losses per token can be compared: a token is then the same in all rows of a table that are of one text.

    So it is with one tokenizer. The runs that rows begin with have tokenizers of their own: these count as one where a
    token stands for as many bytes in both parts of the text.
    """
    if len({row.get("start_from") for row in rows}) < 2:
        return len({row.get("tokenizer") for row in rows}) < 2
    ended = [row for row in rows if row.get("status", "ok") == "ok"]
    lengths = {(row.get("corpus"), *(row.get(f"{part}_bytes_per_token") for part in ("train", "val"))) for row in ended}
    is_known = all(usable_ratio(ratio) for _, *ratios in lengths for ratio in ratios)
    return is_known and len(lengths) == len({text for text, *_ in lengths})


def usable_ratio(ratio: float | None) -> float | None:
    """A ratio of a table, where an empty cell may be NaN."""
    return ratio if ratio is not None and 0 < ratio < math.inf else None
