"""A trainer that has used its threads goes on in a forked child."""

import os
import signal
import warnings

from tlab import ComputeConfig, ModelConfig, TrainConfig, Trainer, load_corpus

corpus = load_corpus("repeat")
config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, hidden_dim=8, num_heads=2)
trainer = Trainer(config, TrainConfig(steps=6, warmup_steps=2), corpus, compute=ComputeConfig(threads=2))
next(iter(trainer))
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
if (child := os.fork()) == 0:
    signal.alarm(30)  # a child that waits for ever is ended by this
    list(trainer)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("ok")
