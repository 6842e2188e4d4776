"""Transformers is the judge: imported models give the same logits, gradients and texts as its own classes."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")
pytest.importorskip("transformers", minversion="5", reason="the judge of whole models needs Transformers 5")

import torch
import transformers

from support import tiny
from tlab import Checkpoint, generate
from tlab.pretrained.reading import FAMILIES


def without(settings, name):
    return {key: value for key, value in settings.items() if key != name}


ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}  # else of no gradient, or an end
SHARED = {
    "vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 90, **NO_TOKENS,
}  # fmt: skip
LLAMA = {**SHARED, "intermediate_size": 50, "num_key_value_heads": 2, "head_dim": 6, **ROPE}
STABLELM = {
    **without(LLAMA, "head_dim"),
    "rope_parameters": {**ROPE["rope_parameters"], "partial_rotary_factor": 1 / 3},
}
OPT = {**SHARED, "ffn_dim": 50, "word_embed_proj_dim": 24}
STOCK = {
    "gpt2": ("GPT2", {"vocab_size": 37, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 90, "n_inner": 50,
                      **NO_TOKENS}),
    "opt": ("OPT", OPT),
    "opt, Post-LN": ("OPT", {**OPT, "do_layer_norm_before": False, "enable_bias": False}),
    "gpt_neox": ("GPTNeoX", {**SHARED, "intermediate_size": 50, "rope_parameters": {**ROPE["rope_parameters"],
                                                                              "partial_rotary_factor": 1 / 3}}),
    "gpt_neox, one after the other": ("GPTNeoX", {**SHARED, "intermediate_size": 50, "use_parallel_residual": False,
                                                  "rope_parameters": {**ROPE["rope_parameters"],
                                                                      "partial_rotary_factor": 1.0}}),
    "llama": ("Llama", LLAMA),
    "llama, tied and with biases": ("Llama", {**LLAMA, "tie_word_embeddings": True, "attention_bias": True,
                                              "mlp_bias": True}),
    "arcee": ("Arcee", LLAMA),
    "mistral": ("Mistral", {**LLAMA, "sliding_window": 90}),
    "qwen2": ("Qwen2", without(LLAMA, "head_dim")),
    "qwen3": ("Qwen3", LLAMA),
    "olmo2": ("Olmo2", LLAMA),
    "gptj": ("GPTJ", {"vocab_size": 37, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 90, "n_inner": 50,
                      "rotary_dim": 4, **NO_TOKENS}),
    "starcoder2": ("Starcoder2", without(LLAMA, "head_dim")),
    "stablelm": ("StableLm", STABLELM),
    "stablelm, with biases": ("StableLm", {**STABLELM, "use_qkv_bias": True}),
    "gemma2": ("Gemma2", {**LLAMA, "query_pre_attn_scalar": 6, "sliding_window": 90, "attn_logit_softcapping": 2.0,
                          "final_logit_softcapping": 3.0, "hidden_activation": "gelu_pytorch_tanh"}),
}  # fmt: skip


def test_every_architecture_is_judged_by_its_stock_class():
    unjudged = set(FAMILIES) - {name.partition(",")[0] for name in STOCK}
    assert not unjudged, f"add a small config of {unjudged} to STOCK above"


@pytest.fixture(params=STOCK, scope="module")
def both(request, tmp_path_factory):
    """A stock model with random weights and norms, and what the lab reads from the folder that it saves itself to."""
    kind, settings = STOCK[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    stock = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for weights in stock.parameters():
            weights += 0.15 * torch.randn(weights.shape)
        for name in FAMILIES[config.model_type].zeros(tiny()):  # the lab has no place for these
            stock.get_parameter(name).zero_()
    folder = tmp_path_factory.mktemp("stock")
    stock.save_pretrained(folder)
    return stock, Checkpoint.from_pretrained(folder)


def test_an_imported_model_gives_the_same_logits(both, rng):
    stock, checkpoint = both
    ids = rng.integers(0, 37, (2, 90))
    with torch.no_grad():
        theirs = stock(torch.tensor(ids)).logits.numpy()
    assert np.abs(checkpoint.model().forward(ids)[0] - theirs).max() <= 1e-5


def test_an_imported_model_goes_on_with_the_same_text(both):
    stock, checkpoint = both
    prompt = [3, 17, 30, 5]
    with torch.no_grad():
        theirs = stock.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, 4), max_new_tokens=64, do_sample=False
        )
    ours = generate(checkpoint, " ".join(map(str, prompt)), max_new_tokens=64, temperature=0)
    assert [token.id for token in ours] == theirs[0, 4:].tolist()


def test_an_imported_model_has_the_same_loss_and_gradients(both, rng):
    stock, checkpoint = both
    ids = rng.integers(0, 37, (2, 41))
    loss, gradients = checkpoint.model().loss_and_gradients(ids[:, :-1], ids[:, 1:])
    stock.zero_grad()
    theirs = torch.nn.functional.cross_entropy(
        stock(torch.tensor(ids[:, :-1])).logits.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten()
    )
    theirs.backward()
    family, config = FAMILIES[stock.config.model_type], checkpoint.model_config
    summed = dict.fromkeys((name for tensor in family.tensors(config) for name in tensor.theirs), 0.0)
    for tensor in family.tensors(config):  # one of theirs may be several of ours
        gradient = gradients[tensor.ours]
        parts = zip(tensor.form.write(gradient, config), tensor.form.write(0 * gradient, config), strict=True)
        for name, (part, blank) in zip(tensor.theirs, parts, strict=True):
            summed[name] = summed[name] + part - blank
    named = {family.their_name(name, False): weights.grad.numpy() for name, weights in stock.named_parameters()}
    assert abs(loss - theirs.item()) <= 1e-5
    assert named.keys() - summed.keys() == family.zeros(config).keys()
    assert max(np.abs(summed[name] - named[name]).max() for name in summed) <= 1e-4
