"""An export says of its two sides that they share what they do share, and no more."""

from tlab import ModelConfig, TrainConfig, Trainer, load_corpus
from tlab.ui.sharing.write_zip import KeptRun, KeptSide, difference_words

BATCHES, OTHER_BATCHES = "They read the same batches", "They read different batches"
WEIGHTS, OTHER_WEIGHTS = "start from the same first weights.", "have no first weights in common."
corpus = load_corpus("repeat")


def side(**changes) -> KeptSide:
    model = {"vocab_size": corpus.tokenizer.vocab_size, "hidden_dim": 16, "num_heads": 2}
    train = {"steps": 1}
    for name, value in changes.items():
        (model if name in ModelConfig.__dataclass_fields__ else train)[name] = value
    return KeptSide("one", Trainer(ModelConfig(**model), TrainConfig(**train), corpus).checkpoint())


for name, value, batches, weights in (
    ("seed", 1, OTHER_BATCHES, OTHER_WEIGHTS),
    ("data_seed", 5, OTHER_BATCHES, WEIGHTS),
    ("batch_size", 8, OTHER_BATCHES, WEIGHTS),
    ("context_length", 32, OTHER_BATCHES, WEIGHTS),
    ("norm", "rmsnorm", BATCHES, WEIGHTS),
    ("activation", "swiglu", BATCHES, "start from the same first weights but for mlp.up, mlp.down, mlp.gate."),
    ("hidden_dim", 32, BATCHES, OTHER_WEIGHTS),
):
    differ, share = difference_words(KeptRun("two", (side(), side(**{name: value})), None))
    assert f"differ in {name} " in differ, differ
    assert share == f"{batches} and {weights}", (name, share)
print("ok")
