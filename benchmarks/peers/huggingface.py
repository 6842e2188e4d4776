"""Hugging Face transformers: `generate` of a GPT-2 of the same size, as its users call it."""

# pyright: reportMissingImports=false
# (nobody needs this peer to check the rest)

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.cases import size_of
from benchmarks.jobs import Job
from tlab.nn.config import ModelConfig
from tlab.types import Array, Ids

# Our name -> theirs. GPT-2's code keeps its matrices as (C_in, C_out), like ours.
NAMES = {
    "embedding.weight": "wte.weight",
    "position.weight": "wpe.weight",
    "final_norm": "ln_f",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
    "blocks": "h",
    "scale": "weight",
    "shift": "bias",
}


def make(config: ModelConfig) -> Any:
    """Their model of our config: GPT-2's switches only."""
    wanted = {"norm": "layernorm", "activation": "gelu", "residual": "pre", "position": "learned", "bias": True}
    for name, value in {**wanted, "tied": True, "embedding_scale": 1}.items():
        if getattr(config, name) != value:
            raise ValueError(f"{name} = {getattr(config, name)!r}: this GPT-2 has only {value!r}")
    shape = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.hidden_dim,
        n_layer=config.num_layers,
        n_head=config.num_heads,
        n_inner=config.mlp_dim,
        activation_function="gelu_new",
        layer_norm_epsilon=config.norm_epsilon,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(shape).eval()


def their_name(name: str) -> str:
    """`blocks.0.norm1.scale` to `transformer.h.0.ln_1.weight`."""
    whole = "|".join(re.escape(key) for key in NAMES)
    return "transformer." + re.sub(rf"(?<![^.])(?:{whole})(?![^.])", lambda found: NAMES[found.group()], name)


def loss_and_gradients(
    config: ModelConfig, weights: Mapping[str, Array], ids: Ids, targets: Ids
) -> tuple[float, dict[str, Array]]:
    """This peer's loss and gradients, under our names: for the test that it is the same model."""
    model = make(config).to(torch.from_numpy(weights["embedding.weight"]).dtype)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, array in weights.items():
            parameters[their_name(name)].copy_(torch.from_numpy(array))
    logits = model(torch.from_numpy(ids)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
    loss.backward()
    gradients = {}
    for name in weights:
        gradient = parameters[their_name(name)].grad
        assert gradient is not None
        gradients[name] = gradient.numpy()
    return loss.item(), gradients


def generation(size: str, text_length: str) -> Job:
    """Sampled tokens in texts of `text_length`, each from a prompt of one token."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = make(size_of(size, "gpt2").config)
    length = int(text_length)
    prompt = torch.zeros((1, 1), dtype=torch.long)

    def work(tokens: int) -> None:
        for _ in range(tokens // length):
            written = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=True,
                temperature=0.8,
                top_k=0,
                max_new_tokens=length,
                use_cache=True,
                pad_token_id=0,
            )
            assert written.shape[1] == 1 + length

    return work
