"""What can be clicked in the drawing: the switch of each part, what else sets it, and the code that is run for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tlab.config import options
from tlab.nn.attention import Attention
from tlab.nn.linear import Embedding, Linear
from tlab.nn.loss import CrossEntropy
from tlab.nn.mlp import Mlp
from tlab.nn.model import Block, Transformer
from tlab.nn.norms import NORMS
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES, UsualSoftmax
from tlab.source import SourcePage, code, page
from tlab.training.config import TrainConfig
from tlab.ui.settings.fields import field_names, registry_for


class ClickablePart(NamedTuple):
    """One thing that can be clicked. Its first field is its switch."""

    title: str
    words: str  # what it does, in one sentence
    fields: tuple[str, ...]
    formula: str | Callable[[Mapping[str, Any]], str] = ""  # LaTeX, or what makes it of the values of all settings
    methods: tuple[Any, ...] = ()  # code that is run whatever is chosen


def attention_formula(values: Mapping[str, Any]) -> str:
    """From queries, keys and values to what attention adds, with all that is chosen on the way."""
    queries, keys = ("Q", "K") if NORMS[values["qk_norm"]].is_identity else (r"\hat Q", r"\hat K")
    scores, cap = rf"\frac{{{queries} {keys}^\top}}{{\sqrt{{D}}}}", values["score_cap"]
    if cap:
        scores = rf"{cap:g} \tanh\!\left(\frac{{1}}{{{cap:g}}} {scores}\right)"
    softmax = ATTENTION_SOFTMAXES.entries[values["attention_softmax"]]
    heads = "[{0}_1; \\dots; {0}_H]" if values["qk_norm_all_heads"] else "{0}"
    normed = ", ".join(rf"\mathrm{{norm}}({heads.format(part)})" for part in "QK")
    normed = rf"\hat Q, \hat K = {normed}"
    is_usual, mixes = softmax.component is UsualSoftmax, values["value_residual"]
    attended = rf"\mathrm{{softmax}}\!\left({scores} + \mathrm{{mask}}\right) " if is_usual else r"A\,"
    attended += r"\hat V" if mixes else "V"
    if values["attention_gate"]:
        attended = rf"\left({attended} \odot \sigma(h\,W_\mathrm{{gate}})\right)"
    where = [
        rf"A = {softmax.formula}, \quad s = {scores} + \mathrm{{mask}}" * (not is_usual),
        normed * (queries != "Q"),
        r"\hat V = (1 - \lambda)\,V + \lambda\,V_1" * mixes,
    ]
    return r", \quad ".join([rf"{attended}\,W_\mathrm{{out}}", *filter(None, where)])


TRAINING_FIELDS = tuple(options(TrainConfig))
PARTS: dict[str, ClickablePart] = {
    "tokens": ClickablePart(
        "Tokens", "The text as numbers: the model sees this many of them at once, and nothing before.",
        ("context_length",), r"t_1, \dots, t_T \in \{0, \dots, V - 1\}",
    ),
    "embedding": ClickablePart(
        "Token embedding",
        "Looks up a vector for each token, which the model multiplies by the embedding scale s before it adds "
        "positions: where the residual stream begins.",
        ("embedding_scale", "hidden_dim"), r"x_t = s\,E[t]", (Embedding.forward, Transformer.embed),
    ),
    "position": ClickablePart(
        "Positions", "How the model knows the order of the tokens.", ("position", "rope_base", "rope_fraction")
    ),
    "stream": ClickablePart(
        "Residual stream", "One vector per token that passes through everything; sublayers read it and add to it.",
        ("residual", "hidden_dim"),
    ),
    "norm": ClickablePart("Norm", "Brings each token's vector to a standard size.", ("norm", "norm_epsilon")),
    "attention": ClickablePart(
        "Attention",
        "The one place where tokens meet: a token's query (Q) is matched with the keys (K) of itself and of earlier "
        "tokens, and their values (V) are added up by how well they match.",
        ("num_heads", "num_kv_heads", "bias", "qk_norm", "qk_norm_all_heads", "score_cap",
         "attention_softmax", "attention_gate", "value_residual"),
        attention_formula, (Attention.forward, Attention.weigh),
    ),
    "mlp": ClickablePart(
        "MLP", "Works on what attention brought together, token by token.",
        ("activation", "mlp_ratio", "bias"), methods=(Mlp.forward,),
    ),
    "block": ClickablePart(
        "Block", "Attention and the MLP around the stream, repeated: each has weights of its own.",
        ("num_layers", "init", "scale_residual"), methods=(Block.forward,),
    ),
    "head": ClickablePart(
        "Unembedding", "Scores every token of the vocabulary as the next one: the logits.",
        ("tied", "logit_cap"), r"\mathrm{logits} = x\,E^\top \ \text{or} \ x\,W_\mathrm{head}",
        (Embedding.unembed, Linear.forward),
    ),
    "training": ClickablePart(
        "Loss and optimizer", "Compares the logits with the token that came, and moves every weight downhill.",
        ("optimizer", *(name for name in TRAINING_FIELDS if name != "optimizer")), methods=(CrossEntropy.forward,),
    ),
}  # fmt: skip
"""Every field of both configs belongs to one part at least; the first that has it is lit when B changes it."""


def parts_set_by(field: str) -> list[str]:
    """The parts that a field sets, most directly first; one that nobody has claimed sets the block."""
    found = [key for key, part in PARTS.items() if field in part.fields]
    return found or ["block"]


def page_of(part: ClickablePart, values: Mapping[str, Any]) -> SourcePage | None:
    """The page of the class that is chosen for this part; None where there is nothing to choose."""
    switch = part.fields[0]
    registry = registry_for(switch)
    return page(registry.slot, values[switch]) if registry is not None else None


def code_of(part: ClickablePart, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Title and code: what is chosen, and what is run whatever is chosen."""
    chosen = page_of(part, values)
    shown = []
    if chosen is not None:
        names = [name for name in ("reference", "forward") if name in chosen.parts]
        names = names or list(chosen.parts)[:2]
        shown = [(f"{chosen.title}: {name}", chosen.parts[name]) for name in names]
    return shown + [(method.__qualname__, code(method)) for method in part.methods]


def formula_of(part: ClickablePart, values: Mapping[str, Any]) -> str:
    chosen = page_of(part, values)
    if chosen is not None and chosen.formula:
        return chosen.formula
    return part.formula(values) if callable(part.formula) else part.formula


def settable(part: ClickablePart) -> list[str]:
    """The part's fields that people choose."""
    return [name for name in part.fields if name in field_names()]
