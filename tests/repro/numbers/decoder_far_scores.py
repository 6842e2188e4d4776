"""The decoder gives what the whole model gives where ALiBi's scores lie a hundred nats apart."""

import numpy as np

from tlab import ModelConfig, Transformer
from tlab.generate import next_token_logits

shape = {"vocab_size": 2, "context_length": 512, "hidden_dim": 16, "num_layers": 1, "num_heads": 8}
parts = {"norm": "none", "position": "alibi", "activation": "relu"}
model = Transformer(ModelConfig(**shape, **parts, embedding_scale=1.0, bias=False, tied=False), seed=0)
for parameter in model.parameters.values():
    parameter.data[...] = 0.01
model.parameters["embedding.weight"].data[...] = np.eye(2, 16)
projection = model.parameters["blocks.0.attention.qkv.weight"].data  # queries, keys, values of tokens 0 and 1
projection[:2] = projection[2:] = 0
projection[1, 0:16:2] = 14.3
projection[0, 16:32:2] = 14.3
projection[1, 16:32:2] = -9.5
projection[:, 32:] = 1
for count in (100, 300, 500):
    ids = np.array([0] + [1] * count)
    steps = next_token_logits(model, ids[:1], 1)
    logits = next(steps)
    for token in ids[1:]:
        logits = steps.send([int(token)])
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[0], model.forward(ids[None])[0][0, -1], rtol=1e-6)
print("ok")
