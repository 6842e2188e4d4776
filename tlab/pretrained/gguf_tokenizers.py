"""Tokenizers of GGUF files, which are byte pairs: as a tokenizer.json, and from one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tlab.pretrained.fields import PretrainedError
from tlab.text.byte_names import BYTE_NAMES

NORMAL, CONTROL, GIVEN_BY_USER, UNUSED = 1, 3, 4, 5
"""Kinds of tokens in GGUF."""


def rules_of_words() -> dict[str, Any]:
    """How texts are cut into words before byte pairs are joined: what GGUF calls it -> what the library does."""
    from tokenizers import pre_tokenizers

    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits_alone = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_bytes])
    return {"gpt-2": by_bytes, "smollm": digits_alone, "starcoder": digits_alone}


def tokenizer_json(entries: Mapping[str, Any]) -> str:
    """The tokenizer of a file as a tokenizer.json.

    Raises:
        ValueError: it is of a kind whose rules the file does not hold and the lab does not know.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    kind, rule, rules = entries.get("model"), entries.get("pre", "default"), rules_of_words()
    if kind != "gpt2" or rule not in rules:
        raise ValueError(f"its tokenizer is {kind!r} with the rule {rule!r}; known are gpt2 with {', '.join(rules)}")
    vocabulary = {token: number for number, token in enumerate(entries["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in entries["merges"]]
    cutter = Tokenizer(models.BPE(vocabulary, merges))
    cutter.pre_tokenizer, cutter.decoder = rules[rule], decoders.ByteLevel()
    for token, its_kind in zip(entries["tokens"], entries.get("token_type", ()), strict=False):
        if its_kind in (CONTROL, GIVEN_BY_USER):
            cutter.add_tokens([AddedToken(token, special=its_kind == CONTROL, normalized=False)])
    return cutter.to_str()


def tokenizer_entries(json_text: str, vocab_size: int) -> dict[str, Any]:
    """A tokenizer.json as entries of a file.

    Raises:
        PretrainedError: GGUF has no such tokenizer.
    """
    about = json.loads(json_text)
    model, vocabulary = about["model"], about["model"]["vocab"]
    if model["type"] == "WordLevel":  # of characters: bytes that are never joined, where each is one byte
        if beyond := [token for token in vocabulary if not (len(token) == 1 and token.isascii())]:
            raise PretrainedError(
                f"its tokenizer has characters of several bytes, such as {beyond[0]!r}, and GGUF's byte pairs have no "
                "token for one without tokens for its parts; train with the byte tokenizer or with byte pairs"
            )
        vocabulary, merges, rule = {BYTE_NAMES[ord(token)]: i for token, i in vocabulary.items()}, [], "gpt-2"
    else:
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", ())]
        rule = rule_of(about, merges)
    names, kinds = [f"[PAD{i}]" for i in range(vocab_size)], [UNUSED] * vocab_size
    for token, i in vocabulary.items():
        names[i], kinds[i] = token, NORMAL
    for token in about["added_tokens"]:
        names[token["id"]], kinds[token["id"]] = token["content"], CONTROL if token["special"] else GIVEN_BY_USER
    found = {"model": "gpt2", "pre": rule, "tokens": names, "token_type": kinds, "merges": merges}
    return {f"tokenizer.ggml.{name}": value for name, value in {**found, "add_bos_token": False}.items()}


def rule_of(about: Mapping[str, Any], merges: list[str]) -> str:
    """What GGUF calls the way in which a tokenizer.json cuts texts into words.

    Raises:
        PretrainedError: it has no name for it.
    """
    known, cut = rules_of_words(), about["pre_tokenizer"] or {}
    of_bytes = cut.get("type") == "ByteLevel" and not cut["add_prefix_space"]
    if about["model"]["type"] == "BPE" and about["normalizer"] is None and not about["model"].get("ignore_merges"):
        if of_bytes and not merges:
            return "gpt-2"  # where nothing is joined, words make no difference
        for rule, pre_tokenizer in known.items():
            if json.loads(pre_tokenizer.__getstate__()) == cut:
                return rule
    raise PretrainedError(
        f"its tokenizer is none that the lab can write as GGUF: byte pairs in words of {' or '.join(known)}, bytes, or "
        "characters of ASCII"
    )
