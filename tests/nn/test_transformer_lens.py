"""TransformerLens agrees: on the same weights it finds the same attention, contributions, lens and attributions.

Its models have one layout, Pre-LN; what is asked of the others is in test_inside_judge.py, by autograd. Run with `-s`
to see the largest differences.
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the judge needs PyTorch: pip install '.[parity]'")
pytest.importorskip("transformer_lens", reason="the judge of the probes is not here: pip install '.[parity]'")

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.model_bridge.sources.native.model import NativeModel

from support import tiny
from tlab.checks import random_model
from tlab.inside.contributions import neuron_outputs, shift_of, stream_contributions, unembedding
from tlab.inside.probes.residual import lens_logits, streams

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, of their dependencies

LIMIT = 1e-5
SHAPES = {
    "gpt2": tiny(position="learned", embedding_scale=1.0, tied=True),
    "llama": tiny(norm="rmsnorm", activation="swiglu", position="rope", bias=False,
                  tied=False, embedding_scale=1.0),
}  # fmt: skip


def turned_pairs(head_dim):
    """Where our channels stand in theirs: their RoPE turns channels 2i and 2i + 1, ours i and i + D/2."""
    return np.arange(head_dim).reshape(2, -1).T.ravel()


def their_weights(model):
    """Our weights under their names and in their shapes: (out, in) for each matrix."""
    c, ours = model.config, {name: param.data for name, param in model.parameters.items()}
    C, H, D = c.hidden_dim, c.num_heads, c.head_dim
    order = turned_pairs(D) if c.position == "rope" else np.arange(D)
    theirs = {"tok_embed.weight": ours["embedding.weight"], "head.weight": unembedding(model).T}
    if "position.weight" in ours:
        theirs["pos.weight"] = ours["position.weight"]

    def put(their_name, our_name, columns=slice(None)):
        for kind in ("weight", "bias"):
            if f"{our_name}.{kind}" in ours:
                theirs[f"{their_name}.{kind}"] = ours[f"{our_name}.{kind}"][..., columns].T

    def put_norm(their_name, our_name):
        theirs[f"{their_name}.weight"] = ours[f"{our_name}.scale"]
        if f"{our_name}.shift" in ours:
            theirs[f"{their_name}.bias"] = ours[f"{our_name}.shift"]

    linear = {"up": "in", "gate": "gate", "down": "out"} if model.blocks[0].mlp.activation.gated else {
        "up": "fc_in", "down": "fc_out"}  # fmt: skip
    for i in range(c.num_layers):
        layer, block = f"layers.{i}", f"blocks.{i}"
        for part, name in enumerate("qkv"):
            columns = part * C + np.arange(C).reshape(H, D)[:, order if name in "qk" else slice(None)].ravel()
            put(f"{layer}.attn.{name}", f"{block}.attention.qkv", columns)
        put(f"{layer}.attn.o", f"{block}.attention.out")
        for name, their_name in linear.items():
            put(f"{layer}.mlp.{their_name}", f"{block}.mlp.{name}")
        put_norm(f"{layer}.ln1", f"{block}.norm1")
        put_norm(f"{layer}.ln2", f"{block}.norm2")
    put_norm("ln_out", "final_norm")
    return {name: torch.tensor(np.ascontiguousarray(array), dtype=torch.float32) for name, array in theirs.items()}


def their_model(model):
    c = model.config
    config = TransformerBridgeConfig(
        d_model=c.hidden_dim, n_layers=c.num_layers, d_mlp=c.mlp_dim, d_head=c.head_dim, n_heads=c.num_heads,
        n_ctx=c.context_length, d_vocab=c.vocab_size, eps=c.norm_epsilon, architecture="TransformerLensNative",
        act_fn="silu" if model.blocks[0].mlp.activation.gated else "gelu_new",
        gated_mlp=model.blocks[0].mlp.activation.gated, normalization_type="RMS" if c.norm == "rmsnorm" else "LN",
        positional_embedding_type="rotary" if c.position == "rope" else "standard", rotary_dim=c.head_dim,
        rotary_base=10_000,
    )  # fmt: skip
    plain = NativeModel(config)
    weights = their_weights(model)
    absent = plain.load_state_dict(weights, strict=False)
    assert not absent.unexpected_keys
    with torch.no_grad():
        for name in absent.missing_keys:  # a model without biases has them as zeros there
            assert name.endswith(".bias") and not c.bias, name
            plain.get_parameter(name).zero_()
    return build_bridge_from_module(plain, "TransformerLensNative", tl_config=config)


@pytest.fixture(scope="module", params=list(SHAPES))
def pair(request):
    """Our model's trace in float64, and theirs in float32, on two random texts."""
    rng = np.random.default_rng(0)
    model = random_model(SHAPES[request.param], rng)
    ids = rng.integers(0, model.config.vocab_size, (2, model.config.context_length))
    theirs = their_model(model)
    with torch.no_grad():
        logits, cache = theirs.run_with_cache(torch.tensor(ids))
    return request.param, model, model.forward(ids)[1], theirs, cache, logits


def agree(shape, what, ours, theirs):
    """Equal within the limit, and said how far."""
    difference = np.abs(np.asarray(ours) - theirs.detach().numpy()).max()
    print(f"{shape}: {what}: at most {difference:.1e} apart, of at most {np.abs(ours).max():.2g}")
    assert difference < LIMIT, what


def test_transformer_lens_has_the_same_attention_patterns_and_logits(pair):
    shape, _, trace, _, cache, logits = pair
    agree(shape, "logits", trace.logits, logits)
    for layer, block in enumerate(trace.blocks):
        agree(shape, f"patterns of layer {layer}", block.attention.weights, cache["pattern", layer])


@pytest.mark.parametrize("depth", [1, 2])
def test_transformer_lens_has_the_same_residual_contributions(pair, depth):
    shape, model, trace, _, cache, _ = pair
    stack, labels = cache.get_full_resid_decomposition(depth, expand_neurons=True, return_labels=True)
    theirs = dict(zip(labels, stack, strict=True))
    ours = {part.name: part.value for part in stream_contributions(model, trace, depth)}
    c = model.config
    for layer in range(depth):
        for head in range(c.num_heads):
            agree(shape, f"head {layer}.{head}", ours[f"attention.{layer}.head.{head}"], theirs[f"L{layer}H{head}"])
        units = neuron_outputs(model.blocks[layer].mlp, trace.blocks[layer].mlp, list(range(c.mlp_dim)))
        together = torch.stack([theirs[f"L{layer}N{n}"] for n in range(c.mlp_dim)])
        agree(shape, f"neurons of layer {layer}", units, together)
        agree(shape, f"mlp {layer}", ours[f"mlp.{layer}"], together.sum(0))
    agree(shape, "token", ours["token"], theirs["embed"])
    if "pos_embed" in theirs:
        agree(shape, "position", ours["position"], theirs["pos_embed"])
    agree(shape, "offset", ours["offset"], theirs["bias"].expand(ours["offset"].shape))


def test_transformer_lens_has_the_same_logit_lens(pair):
    shape, model, trace, theirs, cache, _ = pair
    with torch.no_grad():
        normed, labels = cache.accumulated_resid(apply_ln=True, return_labels=True)
        logits = dict(zip(labels, theirs.unembed(normed.flatten(0, 1)).unflatten(0, normed.shape[:2]), strict=True))
    for depth, stream in enumerate(streams(trace)):
        label = "final_post" if depth == model.config.num_layers else f"{depth}_pre"
        agree(shape, f"lens at depth {depth}", lens_logits(model, stream), logits[label])


def test_transformer_lens_has_the_same_direct_attribution(pair):
    shape, model, trace, theirs, cache, _ = pair
    theirs.process_weights(center_writing_weights=False, center_unembed=False, fold_value_biases=False)
    a, b, place = 3, 7, -2
    with torch.no_grad():
        _, cache = theirs.run_with_cache(torch.tensor(trace.ids))
        stack, labels = cache.get_full_resid_decomposition(expand_neurons=True, return_labels=True, pos_slice=place)
        given = cache.logit_attrs(stack, torch.tensor([a, a]), torch.tensor([b, b]), pos_slice=place)
    found = dict(zip(labels, given, strict=True))
    c, direction = model.config, unembedding(model)[:, a] - unembedding(model)[:, b]
    ours = {part.name: part.value[:, place] @ direction for part in stream_contributions(model, trace)}
    for layer in range(c.num_layers):
        for head in range(c.num_heads):
            name = f"attention.{layer}.head.{head}"
            agree(shape, f"attribution of {name}", ours[name], found[f"L{layer}H{head}"])
        units = sum(found[f"L{layer}N{n}"] for n in range(c.mlp_dim))
        agree(shape, f"attribution of mlp.{layer}", ours[f"mlp.{layer}"], units)
    agree(shape, "attribution of the token", ours["token"], found["embed"])
    agree(shape, "attribution of the position", ours["position"], found.get("pos_embed", torch.zeros(2)))
    # The final norm's shift is in our offset; folded into the head's bias, it is in none of theirs.
    shift = (np.zeros(c.hidden_dim) + shift_of(model.final_norm)) @ direction
    agree(shape, "attribution of the offset", ours["offset"] - shift, found["bias"].expand(2))
