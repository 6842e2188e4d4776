"""A position of one class that acts on two places: it rotates like RoPE, and learns what each distance is worth."""

import numpy as np
import pytest

from support import tiny
from tlab import TrainConfig, Trainer, Transformer
from tlab.checks import directional_error, random_model
from tlab.inside.bugs import BUGS
from tlab.nn.decoder import Decoder
from tlab.nn.positions import POSITIONS, Rope

DISTANCES = 4  # from the last on, all are alike


@pytest.fixture(autouse=True)
def registered():
    @POSITIONS.add("rope_t5", label="of this test")
    class RopeWithBias(Rope):
        """Rotates, and adds a learned number for each head and distance to the scores."""

        acts_on = frozenset({"heads", "scores"})

        def __init__(self, space, name, context_length, hidden_dim, num_heads, init):
            super().__init__(space, name, context_length, hidden_dim, num_heads, init)
            self.weight = space.declare(f"{name}.weight", (num_heads, DISTANCES), init.embedding, "vector")

        def bins(self, num_queries, num_keys):
            distance = np.arange(num_keys - num_queries, num_keys)[:, None] - np.arange(num_keys)[None, :]
            return distance.clip(0, DISTANCES - 1)

        def score_bias(self, num_queries, num_keys, dtype):
            return self.weight.data[:, self.bins(num_queries, num_keys)].astype(dtype)

        def score_bias_backward(self, dscores):
            summed, bins = dscores.sum(0), self.bins(*dscores.shape[2:])  # (H, T, S), (T, S)
            for distance in range(DISTANCES):
                self.weight.grad[:, distance] += summed[:, bins == distance].sum(-1)

    yield
    POSITIONS.remove("rope_t5")


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_its_gradients_are_the_slopes_of_the_loss(residual, rng):
    model = random_model(tiny(position="rope_t5", residual=residual), rng)
    ids, targets = rng.integers(0, model.config.vocab_size, (2, 3, 8))
    _, gradients = model.loss_and_gradients(ids, targets)
    for name, param in model.parameters.items():

        def loss(values, param=param):
            before = param.data.copy()
            param.data[...] = values
            value = model.loss.forward(model.forward(ids)[0], targets)[0]
            param.data[...] = before
            return value

        assert directional_error(loss, param.data.copy(), gradients[name], rng) < 1e-6, name
    assert np.abs(gradients["position.weight"]).max() > 0


def test_cached_decoding_gives_the_scores_of_a_full_forward_pass(rng):
    model = random_model(tiny(position="rope_t5"), rng)
    tokens = rng.integers(0, model.config.vocab_size, 8)
    full = model.forward(tokens[None])[0][0]
    decoder = Decoder(model, model.new_cache())
    assert np.array([decoder.logits(int(token)) for token in tokens]) == pytest.approx(full, rel=1e-9, abs=1e-9)
    past = model.new_cache()
    cached = [model.forward(tokens[None, t : t + 1], past)[0][0, 0] for t in range(8)]
    assert np.array(cached) == pytest.approx(full, rel=1e-9, abs=1e-9)


def test_large_biases_are_shifted_like_large_scores(rng):
    model = random_model(tiny(position="rope_t5"), rng)
    ids = rng.integers(0, model.config.vocab_size, (1, 8))
    calm, _ = model.forward(ids)
    for size in (1000.0, -1000.0):
        model.parameters["position.weight"].data += size  # the same for every distance, so nothing changes
        assert model.forward(ids)[0] == pytest.approx(calm, rel=1e-6, abs=1e-6)
        model.parameters["position.weight"].data -= size


@pytest.mark.parametrize("size", [1000.0, -1000.0])
def test_large_biases_are_shifted_like_large_scores_in_the_decoder_too(size, rng):
    config = tiny(position="t5")
    model = Transformer(config)  # float32
    tokens = rng.integers(0, config.vocab_size, 8)
    calm = model.forward(tokens[None])[0][0]
    model.parameters["position.bias"].data += size
    decoder = Decoder(model, model.new_cache())
    assert np.array([decoder.logits(int(token)) for token in tokens]) == pytest.approx(calm, rel=1e-4, abs=1e-5)


def test_it_trains(verse):
    config = tiny(position="rope_t5", vocab_size=verse.tokenizer.vocab_size)
    start = Transformer(config).parameters["position.weight"].data.copy()
    trainer = Trainer(config, TrainConfig(steps=30, validation_every=0, warmup_steps=0), verse)
    losses = [record.loss for record in trainer]
    assert losses[-1] < losses[0]
    assert (trainer.model.parameters["position.weight"].data != start).all()


def test_the_bug_of_a_softmax_over_the_queries_can_be_made_in_it(rng):
    model = random_model(tiny(position="rope_t5"), rng)
    BUGS["wrong-axis"]().plant(model)
    ids = rng.integers(0, model.config.vocab_size, (1, 8))
    _, gradients = model.loss_and_gradients(ids, ids)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
