"""How many names of the validation part were trained on is measured, and told with the text."""

from tlab import load_corpus
from tlab.text.corpora import CORPORA
from tlab.text.overlap import overlap_sentence

corpus = load_corpus("names")
parts = [corpus.tokenizer.decode(ids).split("\n") for ids in (corpus.train, corpus.validation)]
training, validation = set(parts[0]), [name for name in parts[1] if name]
share = sum(name in training for name in validation) / len(validation)
assert f"{share:.1%} of its lines are training lines" in overlap_sentence(corpus), share
assert f"{share:.0%}".replace("%", " %") in (CORPORA["names"].__doc__ or ""), share
print("ok")
