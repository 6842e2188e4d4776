"""Train the run that the page opens with: `python -m tlab.ui.make_demo`.

The default model and training on the default corpus, so that a visitor who presses Start sees the same again.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from tlab.config import ModelConfig, TrainConfig
from tlab.text import DEFAULT_CORPUS, load_corpus
from tlab.train import Trainer
from tlab.ui.demo import DEMO_FILE


def main() -> None:
    """Train, and write the file without the optimizer's vectors, which only a resumed training needs."""
    corpus = load_corpus(DEFAULT_CORPUS)
    trainer = Trainer(ModelConfig(vocab_size=corpus.tokenizer.vocab_size), TrainConfig(), corpus)
    with threadpool_limits(limits=1):  # as the workers of the app have it
        for _ in tqdm(trainer, total=trainer.train_config.steps):
            pass
    checkpoint = dataclasses.replace(trainer.checkpoint(), optimizer_state={})
    with tempfile.TemporaryDirectory(dir=DEMO_FILE.parent) as folder:
        os.replace(checkpoint.save(Path(folder)), DEMO_FILE)
    print(f"{DEMO_FILE}: {DEMO_FILE.stat().st_size:,} bytes, validation {trainer.records[-1].validation_loss:.3f}")


if __name__ == "__main__":
    main()
