"""What training and generating ask of NumPy, counted: what has become faster does not become slower unseen.

A number here may become smaller by a better step. One that has to become larger is a price, to be measured and told.
"""

import numpy as np
import pytest

from benchmarks.cases import DEFAULT, NANO
from counting import arrays_that_count
from tlab.cost import step_flops
from tlab.nn.decoder import Decoder
from tlab.nn.model import Transformer
from tlab.text import corpus_from_text
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trainer import Trainer

CORPUS = corpus_from_text("".join(chr(33 + (7 * i * i + i // 9) % 65) for i in range(9000)))  # 65 characters
STEPS = {"default": (DEFAULT, 16, 279, 238), "nano": (NANO, 12, 453, 697)}  # batch, calls, MB read and written
TOKENS = {"default": (DEFAULT, 71, 0.53), "nano": (NANO, 127, 3.77)}  # calls, MB


@pytest.fixture(scope="module", params=STEPS)
def step(request):
    config, batch_size, calls, megabytes = STEPS[request.param]
    training = TrainConfig(batch_size=batch_size, validation_every=0, steps=9)
    with pytest.MonkeyPatch.context() as patch, arrays_that_count(patch) as count_anew:
        trainer = Trainer(config, training, CORPUS, compute=ComputeConfig(threads=1))
        trainer.train_step()  # the first also makes tables
        work = count_anew()
        trainer.train_step()
    return work, step_flops(config, batch_size), calls, megabytes


def test_a_step_makes_no_more_calls_into_numpy_than_it_did(step):
    work, _, calls, _ = step
    assert calls / 2 < sum(work.calls.values()) <= calls, work.calls


def test_a_step_reads_and_writes_no_more_memory_than_it_did(step):
    work, _, _, megabytes = step
    assert megabytes / 2 < work.bytes / 1e6 <= megabytes


def test_the_products_of_a_step_are_those_of_its_weights_and_few_more(step):
    work, operations, _, _ = step
    assert operations <= work.product_operations <= 1.02 * operations  # sums over tokens are products with ones


@pytest.mark.parametrize("size", TOKENS)
def test_a_token_makes_no_more_calls_and_reads_no_more_memory_than_it_did(size, monkeypatch):
    config, calls, megabytes = TOKENS[size]
    with arrays_that_count(monkeypatch) as count_anew:
        model = Transformer(config, seed=0, dtype=np.float32)
        decoder = Decoder(model, model.new_cache(1))
        for token in range(config.context_length - 1):
            decoder.logits(token)
        work = count_anew()
        decoder.logits(64)
    assert calls / 2 < sum(work.calls.values()) <= calls, work.calls
    assert megabytes / 2 < work.bytes / 1e6 <= megabytes
