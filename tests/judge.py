"""The independent judge: the same transformer in PyTorch, from the papers' equations, in the plainest way.

It shares nothing with `tlab` but parameter names and config fields: no code, no caches, no hand-written gradient.
Import it only after `pytest.importorskip("torch")`.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT = 1e-9  # of the largest entry, in float64

Weights = dict[str, Tensor]
Tell = Callable[[str, Tensor], object]
"""Receives every tensor on the way, under the name that the lab's trace has for it."""


def say_nothing(name: str, tensor: Tensor) -> None:
    pass


def layer_norm(x: Tensor, weights: Weights, name: str, epsilon: float) -> Tensor:
    """Ba et al. 2016."""
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.scale"], weights[f"{name}.shift"], epsilon)


def rms_norm(x: Tensor, weights: Weights, name: str, epsilon: float) -> Tensor:
    """Zhang & Sennrich 2019, with epsilon inside the root."""
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weights[f"{name}.scale"]


def no_norm(x: Tensor, weights: Weights, name: str, epsilon: float) -> Tensor:
    return x


def dynamic_tanh(x: Tensor, weights: Weights, name: str, epsilon: float) -> Tensor:
    """Zhu et al. 2025."""
    return torch.tanh(x * weights[f"{name}.alpha"]) * weights[f"{name}.scale"] + weights[f"{name}.shift"]


NORMS = {"layernorm": layer_norm, "rmsnorm": rms_norm, "dyt": dynamic_tanh, "none": no_norm}

ACTIVATIONS = {
    "relu": F.relu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "swish": F.silu,
    "swiglu": lambda x, gate: F.silu(gate) * x,  # Shazeer 2020
    "geglu": lambda x, gate: F.gelu(gate, approximate="tanh") * x,  # likewise
    "reglu": lambda x, gate: F.relu(gate) * x,  # likewise
    "relu2": lambda x: F.relu(x).square(),  # So et al. 2021
    "gelu_exact": F.gelu,
}

# x is the stream, and enters what it was before the block; f is the sublayer; norm and norm_out are the two norms that
# a layout may use.
RESIDUALS = {
    "pre": lambda x, enters, f, norm, norm_out: x + f(norm(x)),  # Radford et al. 2019
    "post": lambda x, enters, f, norm, norm_out: norm(x + f(x)),  # Vaswani et al. 2017
    "sandwich": lambda x, enters, f, norm, norm_out: x + norm_out(f(norm(x))),  # Ding et al. 2021
    "inside": lambda x, enters, f, norm, norm_out: x + norm_out(f(x)),  # Liu et al. 2021
    "parallel": lambda x, enters, f, norm, norm_out: x + f(norm(enters)),  # Black et al. 2022
}
WITH_FINAL_NORM = {"pre", "sandwich", "inside", "parallel"}
ONE_NORM = {"inside"}  # their norm_out is the only one of the sublayer, and is named so

POSITIONS = {"sinusoidal", "rope", "alibi", "t5", "learned", "none"}
ATTENTION_SOFTMAXES = {"softmax", "plus_one", "sink"}


def sinusoidal_table(num_positions: int, hidden_dim: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5: one entry at a time."""
    table = torch.zeros(num_positions, hidden_dim, dtype=torch.float64)
    for position in range(num_positions):
        for i in range(0, hidden_dim, 2):
            angle = position / 10_000 ** (i / hidden_dim)
            table[position, i] = math.sin(angle)
            if i + 1 < hidden_dim:
                table[position, i + 1] = math.cos(angle)
    return table


def rotate(x: Tensor, base: float, fraction: float) -> Tensor:
    """Su et al. 2021: channels i and i + D/2 of (B, H, T, D) are one complex number, turned by position x theta_i.

    Black et al. 2022: so are the first channels alone, a fraction of D, and the others pass.
    """
    width = int(x.shape[-1] * fraction)
    x, passed = x[..., :width], x[..., width:]
    T, D = x.shape[-2:]
    theta = torch.tensor([base ** (-2 * i / D) for i in range(D // 2)], dtype=torch.float64)
    angle = torch.outer(torch.arange(T, dtype=torch.float64), theta)
    turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex(x[:0], x[:0]).dtype)
    turned = torch.complex(*x.chunk(2, dim=-1)) * turn
    return torch.cat([turned.real, turned.imag, passed], dim=-1)


def alibi_slopes(num_heads: int) -> list[float]:
    """Press et al. 2022, the recipe of the authors' `get_slopes`."""
    if math.log2(num_heads).is_integer():
        ratio = 2 ** (-8 / num_heads)
        return [ratio ** (h + 1) for h in range(num_heads)]
    power = 2 ** math.floor(math.log2(num_heads))
    return alibi_slopes(power) + alibi_slopes(2 * power)[0::2][: num_heads - power]


def t5_bucket(distance: Tensor) -> Tensor:
    """Raffel et al. 2020, the authors' recipe for what is causal: 32 buckets, the last of them from 128 on."""
    distance = distance.clamp(min=0)
    share = torch.log(distance.clamp(min=16).double() / 16) / math.log(128 / 16)
    return torch.where(distance < 16, distance, (16 + (share * 16).long()).clamp(max=31))


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    y = x @ weights[f"{name}.weight"]
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def soft_cap(scores: Tensor, cap: float) -> Tensor:
    """Gemma 2, 2024; a cap of 0 is none."""
    return cap * torch.tanh(scores / cap) if cap else scores


def attention(
    x: Tensor, weights: Weights, name: str, config, tell: Tell = say_nothing, first: list[Tensor] | None = None
) -> Tensor:
    """Vaswani et al. 2017, section 3.2, with a causal mask. The first block puts its values into `first`."""
    B, T, C = x.shape
    num_heads, position = config.num_heads, config.position
    D = C // num_heads
    shared = config.num_kv_heads or num_heads  # Ainslie et al. 2023
    queries, keys, values = (
        part.reshape(B, T, -1, D).permute(0, 2, 1, 3)
        for part in linear(x, weights, f"{name}.qkv").split([num_heads * D, shared * D, shared * D], -1)
    )

    def normed(heads: Tensor, part: str) -> Tensor:
        if not config.qk_norm_all_heads:  # Henry et al. 2020
            return NORMS[config.qk_norm](heads, weights, f"{name}.{part}", config.norm_epsilon)
        together = heads.transpose(1, 2).reshape(B, T, -1)  # OLMo 2
        together = NORMS[config.qk_norm](together, weights, f"{name}.{part}", config.norm_epsilon)
        return together.reshape(B, T, -1, D).transpose(1, 2)

    queries, keys = normed(queries, "q_norm"), normed(keys, "k_norm")
    if position == "rope":
        queries, keys = (rotate(x, config.rope_base, config.rope_fraction) for x in (queries, keys))
    if config.value_residual and first:  # Zhou et al. 2024
        share = weights[f"{name}.value_mix"]
        values = (1 - share) * values + share * first[0]
    elif first is not None:
        first.append(values)
    keys, values = (heads.repeat_interleave(num_heads // shared, dim=1) for heads in (keys, values))
    tell(f"{name}.queries", queries)
    tell(f"{name}.keys", keys)
    tell(f"{name}.values", values)
    scores = torch.einsum("bhtd,bhsd->bhts", queries, keys) / math.sqrt(D)
    tell(f"{name}.scores", scores)
    scores = soft_cap(scores, config.score_cap)
    distance = torch.arange(T)[:, None] - torch.arange(T)[None, :]  # (T, S), from the key to the query
    if position == "alibi":
        scores = scores - torch.tensor(alibi_slopes(num_heads), dtype=x.dtype)[:, None, None] * distance
    if position == "t5":
        scores = scores + weights["position.bias"][t5_bucket(distance)].permute(2, 0, 1)
    scores = scores.masked_fill(distance < 0, -math.inf)
    tell(f"{name}.masked", scores)
    rest = {  # a score that belongs to no key
        "softmax": lambda: torch.full((num_heads,), -math.inf, dtype=x.dtype),
        "plus_one": lambda: torch.zeros(num_heads, dtype=x.dtype),  # Miller 2023
        "sink": lambda: weights[f"{name}.sink"],  # gpt-oss 2025
    }[config.attention_softmax]()
    shares = torch.softmax(torch.cat([scores, rest.reshape(1, -1, 1, 1).expand(B, -1, T, 1)], -1), -1)[..., :-1]
    tell(f"{name}.weights", shares)
    attended = torch.einsum("bhts,bhsd->bthd", shares, values).reshape(B, T, C)
    tell(f"{name}.attended", attended)
    if config.attention_gate:  # Qiu et al. 2025
        gate = torch.sigmoid(x @ weights[f"{name}.gate.weight"])
        tell(f"{name}.gate", gate)
        attended = attended * gate
    return linear(attended, weights, f"{name}.out")


def mlp(x: Tensor, weights: Weights, name: str, activation: str, tell: Tell = say_nothing) -> Tensor:
    inputs = [linear(x, weights, f"{name}.up")]
    if f"{name}.gate.weight" in weights:
        inputs.append(linear(x, weights, f"{name}.gate"))
    hidden = ACTIVATIONS[activation](*inputs)
    for kind, tensor in zip(("up", "gate"), inputs, strict=False):
        tell(f"{name}.{kind}", tensor)
    tell(f"{name}.hidden", hidden)
    return linear(hidden, weights, f"{name}.down")


def logits(config, weights: Weights, ids: Tensor, tell: Tell = say_nothing) -> Tensor:
    """(B, T) -> (B, T, V), for a `ModelConfig` and weights under their public names."""
    T = ids.shape[1]
    x = config.embedding_scale * weights["embedding.weight"][ids]
    if config.position == "sinusoidal":
        x = x + sinusoidal_table(T, config.hidden_dim).to(x.dtype)
    if config.position == "learned":
        x = x + weights["position.weight"][:T]

    tell("embedded", x)

    def norm(name):
        return lambda x: NORMS[config.norm](x, weights, name, config.norm_epsilon)

    values_of_first_block = []
    for i in range(config.num_layers):
        first, second, enters = f"blocks.{i}.attention", f"blocks.{i}.mlp", x
        out = "" if config.residual in ONE_NORM else "_out"
        for part, number, run in (
            (first, 1, lambda h, name=first: attention(h, weights, name, config, tell, values_of_first_block)),
            (second, 2, lambda h, name=second: mlp(h, weights, name, config.activation, tell)),
        ):
            x = told(config.residual, part, x, enters, run, norm(f"blocks.{i}.norm{number}"),
                     norm(f"blocks.{i}.norm{number}{out}"), tell)  # fmt: skip
    if config.residual in WITH_FINAL_NORM:
        x = norm("final_norm")(x)
    tell("output", x)
    scores = x @ (weights["embedding.weight"].T if config.tied else weights["head.weight"])
    scores = soft_cap(scores, config.logit_cap)
    tell("logits", scores)
    return scores


def told(residual: str, part: str, x: Tensor, enters: Tensor, run, norm, norm_out, tell: Tell) -> Tensor:
    """One sublayer in its layout; tells what it reads, what is added, and the stream after it."""

    def sublayer(h):
        h = h.clone()  # a tensor of its own: where no norm stands before it, the shortcut takes the same one
        tell(f"{part}.x", h)
        f = run(h)
        tell(f"{part}.added", f)
        return f

    def outer(f):
        added = norm_out(f)
        tell(f"{part}.added", added)  # not f, where a norm stands between it and the stream
        return added

    y = RESIDUALS[residual](x, enters, sublayer, norm, outer)
    tell(f"{part}.stream", y)
    return y


def loss_and_gradients(
    config, weights: dict[str, np.ndarray], ids, targets, label_smoothing: float = 0.0, z_loss: float = 0.0
) -> tuple[float, dict[str, np.ndarray]]:
    """The mean loss in nats per token, and its gradient for every weight, by autograd.

    Szegedy et al. 2016 smooth the labels; Chowdhery et al. 2022 add the square of log Z.
    """
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    scores = logits(config, leaves, torch.tensor(ids))
    loss = F.cross_entropy(scores.flatten(0, 1), torch.tensor(targets).flatten(), label_smoothing=label_smoothing)
    if z_loss:
        loss = loss + z_loss * torch.logsumexp(scores, -1).pow(2).mean()
    loss.backward()
    unused = [name for name, leaf in leaves.items() if leaf.grad is None]
    assert not unused, f"the judge does not use {unused}: another function, or another name"
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items() if leaf.grad is not None}


def cannot_judge(config) -> str | None:
    """Which part of `config` is unknown here, so that nothing can be said about it; None where all are known."""
    known = {
        "norm": NORMS, "qk_norm": NORMS, "activation": ACTIVATIONS, "residual": RESIDUALS, "position": POSITIONS,
        "attention_softmax": ATTENTION_SOFTMAXES,
    }  # fmt: skip
    unknown = [f"{slot} {getattr(config, slot)!r}" for slot, keys in known.items() if getattr(config, slot) not in keys]
    return f"tests/judge.py has no {', '.join(unknown)}: write it there as well, from its paper" if unknown else None


def agree(name: str, ours: np.ndarray, theirs: Tensor | np.ndarray) -> None:
    """Fail unless both have the same numbers, in float64."""
    expected = theirs.detach().numpy() if isinstance(theirs, Tensor) else theirs
    seen = np.isfinite(expected)  # what is masked is minus infinity
    np.testing.assert_array_equal(np.isfinite(ours), seen, err_msg=name)
    error = np.abs(ours[seen] - expected[seen]).max()
    assert error <= LIMIT * max(1.0, np.abs(expected[seen]).max()), f"{name}: {error:.1e} apart"
