"""What programs may ask of the lab: three pure functions of the shipped model, for `gradio_client` and for MCP.

Each is bounded in length and leaves nothing behind. Training is no part of it: that needs a page, with a person who
waits. Whatever comes in is checked here; only the kinds of JSON are known when it arrives.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypedDict

import gradio as gr
from gradio.events import api

import tlab
from tlab.generate import Sampling
from tlab.inside.attention import read
from tlab.text import TOKENIZERS
from tlab.ui.demo.shipped_run import demo_checkpoint
from tlab.ui.tabs.attention.view import head_words

MAX_CHARACTERS = 2_000  # of a text or prompt
MAX_NEW_TOKENS = 300  # a third of a second
CONCURRENT_CALLS = 2  # calls that are worked on; the others wait in the queue of the page
SHIPPED_MODEL = "model"  # in place of a tokenizer: its own


class Tokens(TypedDict):
    """What `tokenize` answers."""

    ids: list[int]
    tokens: list[str]
    vocab_size: int


class HeadView(TypedDict):
    """What `attention` answers."""

    tokens: list[str]
    weights: list[list[float]]
    entropy: float
    distance: float
    words: str


class WrittenToken(TypedDict):
    """A token, and the probability that it had when it was drawn."""

    text: str
    probability: float


class Writing(TypedDict):
    """What `generate` answers."""

    text: str
    tokens: list[WrittenToken]


SAMPLING_PRESETS = {
    "likeliest": Sampling(temperature=0.0),
    "careful": Sampling(temperature=0.5, top_p=0.9),
    "balanced": Sampling(temperature=0.8),
    "bold": Sampling(temperature=1.2),
}


def build() -> None:
    """Open the three functions under their names, on the page whose `with` block this is."""
    for function in (tokenize, attention, generate):
        api(
            in_words(function), api_name=function.__name__, concurrency_limit=CONCURRENT_CALLS, concurrency_id="api",
            api_visibility="public",
        )  # fmt: skip


def in_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose refusals reach the caller as words and not as a server's error."""

    @functools.wraps(function)
    def answer(*given: Any) -> Any:
        try:
            return function(*given)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    # Gradio reads the types off the signature, and would take annotations that are texts for no types at all.
    answer.__signature__ = inspect.signature(function, eval_str=True)  # pyright: ignore[reportAttributeAccessIssue]
    return answer


def tokenize(text: str, tokenizer: str = SHIPPED_MODEL) -> Tokens:
    """Cut a text into the tokens that a model reads.

    Args:
        text: up to 2,000 characters.
        tokenizer: "model" for the vocabulary of the shipped model; or the key of a tokenizer, such as "byte", which
            then takes its vocabulary from the text.

    Returns:
        ids: a number for each token; tokens: the same as text; vocab_size: how many different tokens there are.
    """
    check_text(text)
    if tokenizer == SHIPPED_MODEL:
        reader = demo_checkpoint().tokenizer
    elif isinstance(tokenizer, str) and tokenizer in TOKENIZERS:
        reader = TOKENIZERS[tokenizer].from_text(text)
    else:
        allowed = ", ".join([SHIPPED_MODEL, *TOKENIZERS])
        raise ValueError(f"tokenizer = {str(tokenizer)[:60]!r}: must be one of {allowed}")
    ids = reader.encode(text)
    return {"ids": ids.tolist(), "tokens": [reader.tokens[i] for i in ids], "vocab_size": reader.vocab_size}


def attention(text: str, layer: int = 1, head: int = 1) -> HeadView:
    """Tell where one attention head of the shipped model looks in a text.

    Args:
        text: 2 to 2,000 characters, of which the model reads the last 32.
        layer: counted from 1.
        head: counted from 1.

    Returns:
        tokens: what was read; weights: for each token the shares of 1 that it gives to all tokens, later ones 0;
        entropy: in nats, 0 for a head that looks at one token only; distance: in tokens back; words: one sentence.
    """
    check_text(text)
    checkpoint = demo_checkpoint()
    config = checkpoint.model_config
    layer, head = check_whole("layer", layer, 1, config.num_layers), check_whole("head", head, 1, config.num_heads)
    ids = checkpoint.last_ids(text)
    if len(ids) < 2:
        raise ValueError("text: give at least two characters to look at")
    reading = read(checkpoint.model(), ids)
    portrait = next(head_of for head_of in reading.heads if head_of[:2] == (layer - 1, head - 1))
    return {
        "tokens": [checkpoint.tokenizer.tokens[i] for i in ids],
        "weights": reading.weights[layer - 1, head - 1].round(6).tolist(),
        "entropy": portrait.entropy,
        "distance": portrait.distance,
        "words": head_words(portrait),
    }


def generate(prompt: str, preset: str = "balanced", max_new_tokens: int = 100, seed: int = 0) -> Writing:
    """Let the shipped model continue a text. The same seed gives the same text.

    Args:
        prompt: 1 to 2,000 characters.
        preset: how the next token is chosen: "likeliest", "careful", "balanced" or "bold".
        max_new_tokens: 1 to 300.
        seed: of the draws, 0 to 4,294,967,295.

    Returns:
        text: what the model wrote, without the prompt; tokens: each with the probability that it had.
    """
    check_text(prompt)
    if not isinstance(preset, str) or preset not in SAMPLING_PRESETS:
        raise ValueError(f"preset = {str(preset)[:60]!r}: must be one of {', '.join(SAMPLING_PRESETS)}")
    count = check_whole("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    settings = SAMPLING_PRESETS[preset].to_json()
    seed = check_whole("seed", seed, 0, 2**32 - 1)
    written = list(tlab.generate(demo_checkpoint(), prompt, max_new_tokens=count, seed=seed, **settings))
    tokens: list[WrittenToken] = [{"text": token.text, "probability": round(token.probability, 6)} for token in written]
    return {"text": "".join(map(str, written)), "tokens": tokens}


def check_text(text: object) -> None:
    """Refuse what is no text, or too long."""
    if not isinstance(text, str):
        raise ValueError(f"the text is of type {type(text).__name__}; must be a string")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed")


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """The value as a whole number in this range; JSON from a browser may write 3 as 3.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} = {str(value)[:60]}: must be a whole number from {low} to {high:,}")
    return value
