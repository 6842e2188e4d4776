"""The field's words in one plain sentence each; those of the registered parts come from the parts."""

from __future__ import annotations

from typing import NamedTuple

from tlab.registry import REGISTRIES
from tlab.source import slots


class Term(NamedTuple):
    """One word, as the list shows it and as texts write it."""

    name: str
    meaning: str
    forms: tuple[str, ...] = ()  # further ways in which it is written; a plural in -s needs none
    is_name: bool = False  # written in no other way, at the beginning of a sentence neither


TERMS = (
    Term("activation", "The nonlinear function between the two matrices of an MLP.", ("activation function",)),
    Term("ablation", "Taking a part out, to see by how much the model gets worse without it."),
    Term(
        "attention",
        "Where tokens meet: each collects a weighted mean of what earlier tokens offer. The weights sum to 1.",
        ("attention weight",),
    ),
    Term("attribution", "Splitting a result, such as a logit, into what each part has added to it."),
    Term("backward pass", "Going from the loss back through every step of the model, to find all gradients."),
    Term("batch", "The pieces of text that one training step learns from.", ("batches", "batch size")),
    Term(
        "bigram model",
        "Guesses each token from the one before it alone, by how often the two follow each other in the training text.",
        ("bigram", "token pairs", "letter pairs", "guess from the token before"),
    ),
    Term("bits", "A unit of loss: the loss in bits is the loss in nats divided by ln 2 = 0.693."),
    Term(
        "bits per byte",
        "A loss that models of any tokenizer share: the bits that a text costs over its length in UTF-8.",
    ),
    Term(
        "cosine similarity",
        "How far two vectors point the same way: 1 for the same, 0 for a right angle, -1 for the opposite.",
        ("cos(q, k)",),
    ),
    Term("block", "One layer of the transformer: attention and an MLP, each adding to the residual stream."),
    Term(
        "uniform guess",
        "The same probability for every token of the vocabulary: a loss of log V, that of a model that knows nothing.",
        ("blind guess", "blind guesses"),
    ),
    Term("causal mask", "Hides later tokens from attention, so that the model cannot read the answer.", ("mask",)),
    Term(
        "confidence interval",
        "A range made so that it holds the true value in 95 of 100 experiments.",
        ("95 % interval", "interval"),
    ),
    Term("context", "The tokens that the model sees at once: as many as the context length.", ("context length",)),
    Term("checkpoint", "All weights of a model at one step of its training."),
    Term("corpus", "The text that a model is trained on.", ("corpora",)),
    Term("dead unit", "A unit of the MLP that gives almost nothing on any token."),
    Term(
        "diverged",
        "The loss rose above a limit, 1,000 nats per token unless set, or stopped being a number: the run ended there.",
        ("diverges",),
    ),
    Term("dropout", "Leaves a random share of the numbers out of each training step, so that none is relied on alone."),
    Term("embedding", "The table with one learned vector for each token: how text enters the model."),
    Term("entropy", "How spread out a probability distribution is, in nats: 0 where one thing is certain."),
    Term("finite differences", "A gradient by trial: change one number a little, and see what becomes of the loss."),
    Term("FLOP", "One addition or multiplication of numbers: what a training costs, whatever the machine."),
    Term(
        "gradient",
        "For each weight, how the loss changes when the weight is changed a little. Training moves against it.",
    ),
    Term("geometric mean", "The mean of factors: where one token got twice the probability and another half, it is 1."),
    Term("gradient clipping", "Scales a gradient that is longer than a limit down to it: no step goes too far."),
    Term("gradient norm", "The length of the vector of all gradients of a part.", ("Euclidean norm",)),
    Term(
        "grouped-query attention",
        "Several heads of queries read the same keys and values, which makes the KV cache smaller.",
        ("GQA",),
    ),
    Term(
        "head",
        "One of several attentions that work side by side in a layer, each on its own share of the channels.",
        ("attention head",),
    ),
    Term(
        "held-out text",
        "Text that the model never learns from, kept to measure what it has learned.",
        ("validation split",),
    ),
    Term("hidden dim", "How many numbers the vector of each token has: the width of the residual stream."),
    Term(
        "induction head",
        "A head that finds an earlier place like this one and copies what came after it.",
        ("induction",),
    ),
    Term(
        "keys and values",
        "Two vectors of each token: the key is what queries are compared with, the value is what attention takes the "
        "weighted mean of.",
    ),
    Term("KV cache", "Keys and values of past tokens, kept so that each new token needs one step only."),
    Term("label smoothing", "Spreads a small share of each target over all tokens, so that the model is less sure."),
    Term("layer", "One block of the transformer; the tokens pass through all of them in turn."),
    Term("learning rate", "How far each training step moves the weights."),
    Term("log scale", "An axis on which equal distances are equal factors: 1, 10 and 100 stand equally far apart."),
    Term("logit", "A score before softmax: the higher, the more probable the token."),
    Term("logit lens", "Reading the residual stream after each layer as if the model ended there."),
    Term(
        "loss",
        "How surprised the model is by the next token, -log of the probability it gave it. Lower is better; "
        "0 would be perfect.",
    ),
    Term("MLP", "Two matrices with an activation between them, applied to each token by itself."),
    Term("moving average", "The mean over the steps before and after, because single batches scatter."),
    Term("nats", "The unit of loss with natural logarithms: 1 nat more means 2.7 times less probability."),
    Term("norm", "Brings each token's vector to a standard size, so that no layer gets too much or too little."),
    Term("optimizer", "The rule that turns gradients into steps of the weights."),
    Term(
        "overfitting",
        "Learning the training text by heart: its loss goes on falling, while that of unseen text rises.",
        ("by heart",),
    ),
    Term("parameter", "One learned number of the model. Also called a weight.", ("model weight", "random weight")),
    Term(
        "patching",
        "Giving a part what it gave in another text, to see what of the difference it carries.",
        ("activation patching", "patch"),
    ),
    Term("perplexity", "exp(loss): as unsure as a choice among that many equally likely tokens."),
    Term("query", "What a token looks for, a vector compared with the key of each earlier token.", ("queries",)),
    Term(
        "residual connection",
        "A way around a sublayer: what the sublayer gives is added to the stream that came to it.",
        ("residual",),
    ),
    Term("residual stream", "One vector for each token that passes through all layers; each reads it and adds to it."),
    Term("root mean square", "The typical size of the numbers in a vector.", ("RMS",)),
    Term("seed", "What all random choices follow from: on one kind of processor, the same seed gives the same run."),
    Term("shipped", "A finished run that comes with the lab: something to see before you train.", ("shipped run",)),
    Term("softmax", "Turns scores into probabilities that sum to 1."),
    Term("standard error", "By how much a mean is typically off, as other samples would have another mean."),
    Term("step", "One batch, one gradient, one change of all weights.", ("training step",)),
    Term("temperature", "Divides the logits before softmax: below 1 the text is safer, above 1 it is wilder."),
    Term("tied", "Embedding and unembedding are one matrix, learned from both ends.", ("tied weights",)),
    Term("token", "The piece of text that the model reads and writes at a time: here a character, or as chosen."),
    Term("tokenizer", "Cuts text into tokens."),
    Term("top-k", "Only the k most probable tokens may be chosen."),
    Term("top-p", "Only the most probable tokens that together reach the probability p may be chosen."),
    Term("training loss", "The loss on the text that the model learns from."),
    Term("Tune both sides", "Trains A and B at several learning rates each, to compare them at the best of each."),
    Term("unembedding", "The matrix that turns the last vector of each token into logits."),
    Term(
        "unigram model",
        "Gives each token its frequency in the training text, whatever comes before it.",
        ("unigram", "token frequencies", "letter frequencies"),
    ),
    Term("validation loss", "The loss on text that the model never learns from: whether it has learned to generalize."),
    Term("vocabulary", "All tokens that there are."),
    Term("warm-up", "A learning rate that rises from 0 over the first steps, so that early gradients do no harm."),
    Term(
        "average of the weights",
        "A mean of the weights over the last steps, which generates in their place: calmer than where training stands.",
        ("EMA",),
    ),
    Term("weight decay", "Shrinks the weights of all matrices a little at each step."),
    Term("z-loss", "Pulls the logarithm of the softmax's denominator towards 0, so that logits do not drift away."),
)  # fmt: skip


PART_SLOTS = ("tokenizer", "norm", "activation", "residual", "position", "schedule", "optimizer")
"""Slots whose parts are told of in texts by their labels."""
USUAL_WORDS = ("learned", "constant", "linear", "cosine")  # "before it has learned anything", "linear warm-up"
OF_SLOT = {"position": "positions"}  # where texts say it in the plural


def all_terms() -> list[Term]:
    """The field's words and the parts that are registered now, by name. Where both have a word, the field's counts."""
    ours = {form.lower() for term in TERMS for form in (term.name, *term.forms)}
    parts = [
        part_term(slot, entry.label, entry.summary)
        for slot in slots()
        if slot in PART_SLOTS
        for entry in REGISTRIES[slot].entries.values()
        if entry.label.lower() not in ours and entry.summary
    ]
    return sorted([*TERMS, *parts], key=lambda term: term.name.lower())


def part_term(slot: str, label: str, summary: str) -> Term:
    """A registered part as a word; one whose label texts use in its usual meaning is known together with its slot."""
    return Term(f"{label} {OF_SLOT.get(slot, slot)}" if label in USUAL_WORDS else label, summary, is_name=True)
