"""Tiny models of Hugging Face for tests of what the app opens: a Llama of random weights that reads English letters."""

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from pretrained.folders import write_folder
from tlab.ui.inspection.selection import CAPITALS

QUESTION_MARK = "?"  # stands for a character that is not among its own


def llama_folder(folder, reads=CAPITALS, **entries):
    """A folder of a model with the letters of a text for tokens; without a text it has no tokenizer."""
    write_folder(folder, "llama", np.random.default_rng(0), **entries)
    if reads:
        letters = {letter: i for i, letter in enumerate([QUESTION_MARK, *sorted(set(reads))])}
        tokenizer = Tokenizer(models.WordLevel(letters, unk_token=QUESTION_MARK))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder
