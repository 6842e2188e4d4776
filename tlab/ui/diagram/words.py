"""The drawing in words: what each box is called, and the whole model in sentences for those who do not see it."""

from __future__ import annotations

from tlab.config import options
from tlab.nn.norms import NORMS
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.training.config import TrainConfig
from tlab.ui.diagram.dataflow import (
    ATTENTION,
    EMBEDDING,
    LEARNED,
    MLP,
    NORM,
    POSITION,
    SUBLAYERS,
    TOKEN_IDS,
    UNEMBEDDING,
)
from tlab.ui.diagram.sides import OPERATIONS, DrawnSide
from tlab.ui.settings.fields import field_label, format_value
from tlab.wording import several

NAMES = {ATTENTION: "attention", MLP: "the MLP", UNEMBEDDING: "the unembedding"}


def node_words(place: int, side: DrawnSide) -> tuple[tuple[str, ...], str]:
    """The lines in a node's box, and its whole name."""
    node, config = side.flow.nodes[place], side.config
    weights = "tied" if config.tied else "own weights"
    heads = several(config.num_heads, "head")
    cap = f", logits capped at {config.logit_cap:g}" if config.logit_cap else ""
    gated = "gated, " if side.is_gated else ""
    known: dict[str, tuple[tuple[str, ...], str]] = {
        TOKEN_IDS: (("Tokens", f"{config.context_length} at once"), f"Tokens, {config.context_length} at once"),
        EMBEDDING: (("Embedding", f"{config.hidden_dim} wide"), f"Token embedding, {config.hidden_dim} wide"),
        NORM: ((side.norm_label,), f"{side.norm_label} {norm_place(place, side)}"),
        ATTENTION: ((f"Attention · {heads}",), f"Attention, {heads} of width {config.head_dim}{besides_words(side)}"),
        MLP: ((f"MLP · {config.mlp_dim} units",), f"MLP, {gated}{side.activation_label}, {config.mlp_dim} units"),
        UNEMBEDDING: (("Unembedding", weights), f"Unembedding, {weights}{cap}"),
        "add": (("+",), "Sum: what was added goes into the residual stream"),
    }
    if node.kind in known:
        return known[node.kind]
    constant = "" if node.constant == POSITION else node.constant
    line = f"{OPERATIONS.get(node.kind, node.kind)} {constant}".strip()
    return (line,), f"{'Residual stream' if node.in_block else 'Embedding scale'}: {line}"


def besides_words(side: DrawnSide) -> str:
    """What attention has besides the usual, to stand after its heads."""
    config = side.config
    softmax = ATTENTION_SOFTMAXES.entries[config.attention_softmax]
    found = [
        f"which share {several(config.kv_heads, 'head')} of keys and values" * (config.kv_heads < config.num_heads),
        f"queries and keys normed{' over all heads' * config.qk_norm_all_heads}"
        * (not NORMS[config.qk_norm].is_identity),
        f"scores capped at {config.score_cap:g}" * bool(config.score_cap),
        softmax.label * (softmax.label != "softmax"),
        "what they collect gated" * config.attention_gate,
        "from the second block on with the first block's values mixed in" * config.value_residual,
    ]
    return "".join(f", {words}" for words in found if words)


def training_line(side: DrawnSide) -> str:
    """How it is trained in a few words, or the one thing in which A and B are trained differently."""
    training, field = side.plan.training, side.field
    if field is None or field in ("optimizer", "learning_rate") or field not in options(TrainConfig):
        return f"{side.optimizer_label} · {training.learning_rate:g}"
    return f"{field_label(field)} {format_value(field, getattr(training, field))}"


def norm_place(place: int, side: DrawnSide) -> str:
    """Where a norm stands."""
    flow = side.flow
    after = [NAMES[flow.nodes[source].kind] for source in flow.nodes[place].inputs if flow.nodes[source].kind in NAMES]
    if after:
        return f"of what {after[0]} adds"
    if flow.nodes[place].in_block and place in flow.stream():
        return "of the sum"
    before = [NAMES[flow.nodes[reader].kind] for reader in flow.readers(place) if flow.nodes[reader].kind in NAMES]
    return f"before {' and '.join(before)}" if before else "of the stream"


# ------------------------------------------------------------------------------------------------ sentences


def sentences(side: DrawnSide) -> list[str]:
    """From the tokens to the optimizer, in the order in which it is done."""
    config = side.config
    first = (
        f"The model reads {several(config.context_length, 'token')} at once. Each is looked up in a table: a vector of "
        f"{several(config.hidden_dim, 'number')}, where the residual stream begins."
    )
    return [first, *scale_and_position(side), *block_sentences(side), *end_sentences(side)]


def scale_and_position(side: DrawnSide) -> list[str]:
    label, before = side.position_label, side.flow.nodes[: side.flow.enters + 1]
    found = [f"The embeddings are multiplied by {node.constant}." for node in before if node.kind == "multiply"]
    acts = {
        "embedding": "are added to the embeddings",
        "heads": "rotate the queries and keys within attention",
        "scores": "are added to the attention scores",
    }
    found += [f"Positions ({label}) {what}." for where, what in acts.items() if where in side.acts_on]
    return found if side.acts_on else [*found, "There are no positions: only the causal mask tells the order."]


def block_sentences(side: DrawnSide) -> list[str]:
    """What each sublayer reads, and how the stream goes on."""
    config, flow = side.config, side.flow
    gated = "gated, " if side.is_gated else ""
    sublayers = {
        ATTENTION: f"attention ({several(config.num_heads, 'head')}{besides_words(side)})",
        MLP: f"the MLP ({gated}{side.activation_label}, {config.mlp_dim} units)",
    }
    found = []
    for place, node in enumerate(flow.nodes):
        if node.kind in SUBLAYERS:
            found.append(f"{sublayers[node.kind]} reads {expression(node.inputs[0], side)}.")
        elif node.in_block and node.kind == "add":
            added = [source for source in node.inputs if source not in flow.stream()] or node.inputs
            found.append(f"{' and '.join(expression(source, side) for source in added)} is added to the stream.")
        elif node.in_block and node.kind == NORM and side.has_norm and place in flow.stream():
            found.append(f"the sum is normed ({side.norm_label}), and so the stream goes on.")
    first, *rest = found
    begin = f"Then follows {several(config.num_layers, 'block')}: " if config.num_layers == 1 else (
        f"Then follow {several(config.num_layers, 'block')}, one after another. In each, "
    )  # fmt: skip
    return [begin + first, *(sentence[0].upper() + sentence[1:] for sentence in rest)]


def expression(place: int, side: DrawnSide) -> str:
    """What a node made, in words, from the stream onwards."""
    node = side.flow.nodes[place]
    if node.kind in SUBLAYERS:
        return f"what {NAMES[node.kind]} made"
    if place in side.flow.stream():
        begun = any(one.kind in SUBLAYERS for one in side.flow.nodes[:place])
        return "the stream so far" if begun and node.in_block else "the stream that enters the block"
    inputs = " and ".join(expression(source, side) for source in node.inputs)
    if node.kind == NORM:
        return f"{side.norm_label} of {inputs}" if side.has_norm else inputs
    if node.kind == "multiply":
        return f"{inputs} times {'a learned weight' if node.constant == LEARNED else node.constant}"
    return f"{inputs} ({OPERATIONS.get(node.kind, node.kind)})"


def end_sentences(side: DrawnSide) -> list[str]:
    flow, training, label = side.flow, side.plan.training, side.optimizer_label
    is_normed = side.has_norm and any(node.kind == NORM for node in flow.nodes[flow.leaves + 1 :])
    weights = "the embedding's own table (tied)" if side.config.tied else "a matrix of its own"
    return [
        f"{f'A final {side.norm_label}' if is_normed else 'No norm'} stands after the last block.",
        f"The unembedding scores every next token with {weights}.",
        f"The loss is the mean surprise about the tokens that came; {label} with learning rate "
        f"{training.learning_rate:g} moves the weights, {several(training.steps, 'step')} in all.",
    ]
