"""A language model of the Transformer Intuition Lab in PyTorch, in one file that needs nothing else.

    from model import load

    model = load()  # from the folder of this file: config.json and weights.pt
    logits = model(torch.tensor([[1, 2, 3]]))  # (B, T) token ids -> (B, T, V)
    model.write(torch.tensor([[1, 2, 3]]), 20)  # the same ids, and the 20 that most likely follow

The parts that a model of the lab may have are here; config.json says which of them this one has.
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DynamicTanh(nn.Module):
    """DyT: each number through a tanh of a learned steepness, where others have a norm."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return torch.tanh(self.alpha * x) * self.weight + self.bias


NORM_CLASSES = {
    "layernorm": nn.LayerNorm,
    "rmsnorm": nn.RMSNorm,
    "dyt": DynamicTanh,
    "none": lambda width, eps: nn.Identity(),
}
NONLINEARITIES = {  # of the MLP; the gated ones take the output of a second linear layer
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": F.gelu,
    "swish": F.silu,
    "swiglu": lambda x, gate: x * F.silu(gate),
    "geglu": lambda x, gate: x * F.gelu(gate, approximate="tanh"),
    "reglu": lambda x, gate: x * F.relu(gate),
}
ADDITIONS = {  # how a sublayer f and its norms are put around the residual stream x
    "pre": lambda x, f, norm, norm_out: x + f(norm(x)),
    "post": lambda x, f, norm, norm_out: norm(x + f(x)),
    "sandwich": lambda x, f, norm, norm_out: x + norm_out(f(norm(x))),
    "inside": lambda x, f, norm, norm_out: x + norm(f(x)),
    "parallel": None,  # both sublayers read the same x, see Layer
}
PLACES_OF_ORDER = ("sinusoidal", "learned", "rope", "alibi", "t5", "none")
WEIGHTINGS = ("softmax", "plus_one", "sink")
FIELDS = (
    "num_kv_heads", "rope_base", "rope_fraction", "qk_norm", "qk_norm_all_heads", "attention_softmax", "attention_gate",
    "value_residual", "score_cap", "logit_cap",
)  # fmt: skip


def table_of_waves(length: int, width: int) -> Tensor:
    """Sinusoidal positions, (length, width): even channels sine, odd channels cosine."""
    channel = torch.arange(width, dtype=torch.float64)
    angle = torch.arange(length)[:, None] / 10_000 ** ((channel - channel % 2) / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def rotated_by_place(x: Tensor, base: float, width: int) -> Tensor:
    """RoPE: of each head (..., T, D) the first `width` channels, in pairs i and i + width/2, by T angles."""
    rotated, passed = x[..., :width], x[..., width:]
    half = width // 2
    angle = torch.outer(
        torch.arange(x.shape[-2], dtype=torch.float64), base ** (-torch.arange(half, dtype=torch.float64) / half)
    )
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    first, second = rotated[..., :half], rotated[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, passed], dim=-1)


def slopes_of_heads(num_heads: int) -> Tensor:
    """ALiBi's slopes; a number of heads that is no power of two takes every other slope of the next one."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2 ** (-8 * (h + 1) / (2 * power)) for h in range(2 * power)]
    return torch.tensor(slopes + between[::2][: num_heads - power], dtype=torch.float64)


def softly_capped(x: Tensor, cap: float) -> Tensor:
    """A soft limit; 0 for none."""
    return cap * torch.tanh(x / cap) if cap else x


class DistanceBias(nn.Module):
    """T5: a learned number for each head and bucket of distance, which all blocks add to their scores."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(32, num_heads))

    def forward(self, length: int) -> Tensor:
        """-> (H, T, T). Half of the buckets are one distance each, half are ranges that grow up to 128."""
        distance = (torch.arange(length)[:, None] - torch.arange(length)).clamp(min=0)
        far = 16 + (16 * (distance.clamp(min=16).double() / 16).log() / math.log(8)).long()
        return self.bias[torch.where(distance < 16, distance, far.clamp(max=31))].permute(2, 0, 1)


class SelfAttention(nn.Module):
    """Each token's query is compared with its own key and those of earlier tokens."""

    def __init__(self, c: dict[str, Any], is_first: bool) -> None:
        super().__init__()
        self.c = c
        width = (c["num_heads"] + 2 * c["kv_heads"]) * c["head_dim"]
        self.qkv = nn.Linear(c["hidden_dim"], width, bias=c["bias"])
        self.out = nn.Linear(c["hidden_dim"], c["hidden_dim"], bias=c["bias"])
        of_queries, of_keys = (c["num_heads"], c["kv_heads"]) if c["qk_norm_all_heads"] else (1, 1)
        self.q_norm = NORM_CLASSES[c["qk_norm"]](of_queries * c["head_dim"], eps=c["norm_epsilon"])
        self.k_norm = NORM_CLASSES[c["qk_norm"]](of_keys * c["head_dim"], eps=c["norm_epsilon"])
        if c["attention_softmax"] == "sink":
            self.sink = nn.Parameter(torch.zeros(c["num_heads"]))
        self.gate = nn.Linear(c["hidden_dim"], c["hidden_dim"], bias=False) if c["attention_gate"] else None
        self.value_mix = nn.Parameter(torch.full((1,), 0.5)) if c["value_residual"] and not is_first else None

    def forward(self, x: Tensor, shared: dict[str, Tensor]) -> Tensor:
        """(B, T, C) -> (B, T, C). The first block leaves its values in `shared`, where the bias of T5 is."""
        c, (B, T, C) = self.c, x.shape
        H, Hk, D = c["num_heads"], c["kv_heads"], c["head_dim"]
        heads = self.qkv(x).view(B, T, H + 2 * Hk, D).transpose(1, 2)  # (B, H + 2 Hk, T, D)
        queries, keys, values = heads.split([H, Hk, Hk], dim=1)
        queries, keys = self.normed(queries, self.q_norm), self.normed(keys, self.k_norm)
        shared.setdefault("values", values)
        if self.value_mix is not None:
            values = (1 - self.value_mix) * values + self.value_mix * shared["values"]
        if c["position"] == "rope":
            queries, keys = (rotated_by_place(part, c["rope_base"], c["rotated_width"]) for part in (queries, keys))
        keys, values = (part.repeat_interleave(H // Hk, dim=1) for part in (keys, values))
        scores = softly_capped(queries @ keys.transpose(-1, -2) / math.sqrt(D), c["score_cap"])  # (B, H, T, T)
        distance = torch.arange(T, device=x.device)[:, None] - torch.arange(T, device=x.device)
        if c["position"] == "alibi":
            scores = scores - slopes_of_heads(H).to(x)[:, None, None] * distance
        if c["position"] == "t5":
            scores = scores + shared["bias"]
        scores = scores.masked_fill(distance < 0, -math.inf)
        attended = (self.weights(scores) @ values).transpose(1, 2).reshape(B, T, C)
        return self.out(attended if self.gate is None else attended * torch.sigmoid(self.gate(x)))

    def normed(self, heads: Tensor, norm: nn.Module) -> Tensor:
        """Queries or keys (B, H, T, D), of each head by itself or of all heads of a token as one vector."""
        if not self.c["qk_norm_all_heads"]:
            return norm(heads)
        by_token = heads.transpose(1, 2)  # (B, T, H, D)
        return norm(by_token.flatten(2)).view(by_token.shape).transpose(1, 2)

    def weights(self, scores: Tensor) -> Tensor:
        """Scores -> weights, (B, H, T, T) each. Some softmaxes have one more logit, whose weight goes nowhere."""
        if self.c["attention_softmax"] == "softmax":
            return scores.softmax(-1)
        rest = self.sink if self.c["attention_softmax"] == "sink" else scores.new_zeros(())
        rest = rest.reshape(1, -1, 1, 1).expand(*scores.shape[:1], scores.shape[1], scores.shape[2], 1)
        return torch.cat([scores, rest], dim=-1).softmax(-1)[..., :-1]


class FeedForward(nn.Module):
    """The MLP: token by token."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self.nonlinearity = NONLINEARITIES[c["activation"]]
        self.up = nn.Linear(c["hidden_dim"], c["mlp_dim"], bias=c["bias"])
        self.gate = nn.Linear(c["hidden_dim"], c["mlp_dim"], bias=c["bias"]) if c["gated"] else None
        self.down = nn.Linear(c["mlp_dim"], c["hidden_dim"], bias=c["bias"])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        inputs = [self.up(x)] if self.gate is None else [self.up(x), self.gate(x)]
        return self.down(self.nonlinearity(*inputs))


class Layer(nn.Module):
    """Attention and the MLP around the residual stream."""

    def __init__(self, c: dict[str, Any], is_first: bool) -> None:
        super().__init__()
        self.layout = c["residual"]
        self.attention, self.mlp = SelfAttention(c, is_first), FeedForward(c)
        self.norm1, self.norm2, norm1_out, norm2_out = (
            NORM_CLASSES[c["norm"]](c["hidden_dim"], eps=c["norm_epsilon"]) for _ in range(4)
        )
        self.norm1_out = norm1_out if self.layout == "sandwich" else None
        self.norm2_out = norm2_out if self.layout == "sandwich" else None

    def forward(self, x: Tensor, shared: dict[str, Tensor]) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        attention = partial(self.attention, shared=shared)
        if self.layout == "parallel":
            return x + attention(self.norm1(x)) + self.mlp(self.norm2(x))
        add = ADDITIONS[self.layout]
        x = add(x, attention, self.norm1, self.norm1_out)
        return add(x, self.mlp, self.norm2, self.norm2_out)


class LanguageModel(nn.Module):
    """Embedding, blocks, head."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self.c = c
        C, V = c["hidden_dim"], c["vocab_size"]
        self.embedding = nn.Embedding(V, C)
        tables = {"learned": lambda: nn.Embedding(c["context_length"], C), "t5": lambda: DistanceBias(c["num_heads"])}
        self.position = tables[c["position"]]() if c["position"] in tables else None
        self.blocks = nn.ModuleList(Layer(c, number == 0) for number in range(c["num_layers"]))
        self.final_norm = NORM_CLASSES[c["norm"]](C, eps=c["norm_epsilon"]) if c["final_norm"] else nn.Identity()
        self.head = None if c["tied"] else nn.Linear(C, V, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) -> logits (B, T, V)."""
        x = self.embedding(ids) * self.c["embedding_scale"]  # (B, T, C)
        shared = {}  # among the blocks
        if isinstance(self.position, nn.Embedding):
            x = x + self.position.weight[: ids.shape[1]]
        elif isinstance(self.position, DistanceBias):
            shared["bias"] = self.position(ids.shape[1])
        if self.c["position"] == "sinusoidal":
            x = x + table_of_waves(ids.shape[1], x.shape[-1]).to(x)
        for block in self.blocks:
            x = block(x, shared)
        x = self.final_norm(x)
        logits = F.linear(x, self.embedding.weight) if self.head is None else self.head(x)
        return softly_capped(logits, self.c["logit_cap"])

    @torch.no_grad()
    def write(self, ids: Tensor, count: int) -> Tensor:
        """Ids (B, T) -> the same, and the `count` that always were most likely: (B, T + count)."""
        for _ in range(count):
            logits = self(ids[:, -self.c["context_length"] :])[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        return ids


def load(folder: str | Path = Path(__file__).parent) -> LanguageModel:
    """The model in a folder."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    state = torch.load(Path(folder) / "weights.pt", weights_only=True)
    with torch.device("meta"):
        model = LanguageModel(config)
    model.load_state_dict(state, assign=True)
    return model.eval()
