"""How much of the default text's validation part is in its training part is measured, and the corpus says so."""

import re

from tlab import load_corpus
from tlab.text.corpora import CORPORA
from tlab.text.overlap import PASSAGE, overlap, overlap_sentence

corpus = load_corpus("python-docs")
training, validation = (corpus.tokenizer.decode(ids) for ids in (corpus.train, corpus.validation))
passages = {training[i : i + PASSAGE] for i in range(len(training) - PASSAGE + 1)}
known = [False] * len(validation)
for i in range(len(validation) - PASSAGE + 1):
    if validation[i : i + PASSAGE] in passages:
        known[i : i + PASSAGE] = [True] * PASSAGE
share = sum(known) / len(known)
assert abs(overlap(corpus).in_passages - share) < 1e-9, (overlap(corpus), share)
assert f"{100 * share:.1f}%" in overlap_sentence(corpus)
told = re.search(r"(\d+) %", CORPORA["python-docs"].__doc__ or "")
assert told and abs(int(told[1]) / 100 - share) < 0.02
print("ok")
