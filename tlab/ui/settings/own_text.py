"""A visitor's own text: how it comes out of a file, and what is known of it before a model learns from it."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import NamedTuple

from tlab.judging.one_run import KNOWN_RULE
from tlab.text import CORPORA, Corpus, Tokenizer, load_corpus
from tlab.text.baselines import baseline_losses
from tlab.text.corpora import needs_download, sha256_of, with_plain_lines
from tlab.text.encodings import decode_text
from tlab.text.overlap import PASSAGE, Overlap, overlap
from tlab.text.tokenizers import utf8
from tlab.ui.runs.byte_budget_cache import ByteBudgetCache
from tlab.ui.runs.manager import own_corpus
from tlab.ui.widgets.markup import macros
from tlab.wording import several

OWN_TEXT = ":own"  # not a file name on any system, so it cannot clash with a corpus
OWN_TEXT_NAME = "your own text"
MAX_UPLOAD_CHARACTERS = 1_000_000  # characters that a browser's text box can handle smoothly
MAX_FILE_NAME = 60  # characters of it that are shown
MAX_SOURCE = 300  # characters of what is said of a file: more than any has
SHARE_TO_WARN_OF = 0.2  # of the validation part, verbatim in training; of an English book it is below 0.01
PACKED_TO_WARN_OF = 0.1  # of the bytes, left by gzip; of English it is about 0.35, of random DNA 0.3

# A tab of a browser keeps the text, the file that it came from, and whether it is chosen, until the tab is closed: no
# address can have it. Settings from elsewhere, with another address, do not choose it again; and before the page has
# its settings nothing is kept.
KEEP_TEXT = f"""(corpus, text, source) => {{
  if (!window.tlabText) return;
  window.tlabText = {{ own: corpus === "{OWN_TEXT}", text, source }};
}}"""
BRING_TEXT_BACK = f"""(corpus, text, source) => {{
  const unchanged = Array(3).fill({{ __type__: "update" }}); // a value would count as a change
  if (window.tlabText) return unchanged;
  window.tlabText = {{ own: false, text, source }};
  let kept = null;
  try {{
    kept = JSON.parse(sessionStorage.getItem("tlab-text"));
    addEventListener("pagehide", () => {{
      try {{
        sessionStorage.setItem("tlab-text", JSON.stringify({{ ...window.tlabText, address: location.search }}));
      }} catch {{}}
    }});
  }} catch {{}}
  if (!kept?.text) return unchanged;
  const own = kept.own && kept.address === location.search;
  const brought = text ? {{ own, text, source }} : {{ own, text: kept.text, source: kept.source ?? "" }};
  window.tlabText = brought; // also of a page that leaves before its fields have it
  return [own ? "{OWN_TEXT}" : corpus, brought.text, brought.source];
}}"""

markup = macros("settings/text_card.html")


class Source(NamedTuple):
    """Where a text was taken from."""

    sha256: str  # of the text; another one in the box is no longer this file's
    words: str


def source_words(source: Source) -> str:
    """A source as one line, which a browser can keep."""
    return " ".join(source)


def source_of(line: str | None) -> Source | None:
    """The source of such a line; None of an empty one, or of any other."""
    sha256, _, words = (line or "").partition(" ")
    return Source(sha256, words[:MAX_SOURCE]) if words else None


def read_file(path: Path, limit: int) -> tuple[str, Source]:
    """The text of an uploaded file, or its beginning where there is more than `limit` characters.

    Raises:
        ValueError: it is no text, or empty.
    """
    name = path.name if len(path.name) <= MAX_FILE_NAME else f"{path.name[:MAX_FILE_NAME]}…"
    try:
        whole, encoding = decode_text(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{name} {error}.") from None
    whole = with_plain_lines(whole)
    if not whole.strip():
        raise ValueError(f"{name} is empty.")
    text, words = whole[:limit], f"{name}, read as {encoding}"
    if len(whole) > limit:
        words += f": the first {limit:,} of its {len(whole):,} characters"
    return text, Source(sha256_of(utf8(text)), words)


class Facts(NamedTuple):
    """What the card of a text shows."""

    size: int
    vocab_size: int
    train: int  # tokens
    validation: int
    baselines: tuple[tuple[str, float], ...]
    known_loss: float | None  # nats per token, of whoever knows how the text was made
    known: Overlap  # of the validation part with training
    packed: float  # bytes after gzip per byte


def text_card(
    corpus: str, reader: str | Tokenizer, context_length: int, text: str, source: Source | None, refusal: str = ""
) -> str:
    """HTML of what is known of the chosen text.

    Args:
        corpus: its key, or OWN_TEXT.
        reader: what makes tokens of it, or its key.
        context_length: tokens that a model reads at once, of which a text must have more.
        text: what is in the box for the visitor's own.
        source: the file that was read last, if any.
        refusal: why another file was not taken.
    """
    own = corpus == OWN_TEXT
    name = own_name(text, source) if own else label_of(corpus)
    problems = [f"{refusal} Still in use: {name}."] if refusal else []
    facts = None
    if own and not text:
        name = "No text yet: choose a file, or paste one."
    elif needs_download(corpus):
        problems.append("It is not on this machine: a run downloads it when it starts.")
    else:
        try:
            facts = own_facts(text, reader, context_length) if own else corpus_facts(corpus, reader)
        except ValueError as error:
            problems.append(str(error))
    if facts is None:
        return markup.card(name, [], [], problems)
    return markup.card(name, rows(facts), facts.baselines, [*problems, *warnings(facts)])


def own_name(text: str, source: Source | None) -> str:
    """Whose text is in the box."""
    if not text:
        return "no text"
    return source.words if source is not None and source.sha256 == sha256_of(utf8(text)) else "pasted or typed text"


def label_of(corpus: str) -> str:
    return CORPORA.entries[corpus].label if corpus in CORPORA else corpus


OWN_FACTS: ByteBudgetCache[tuple[str, str | Tokenizer], Facts] = ByteBudgetCache(16)
"""By digest and tokenizer, each of size 1: so the cache keeps no visitor's text."""


def own_facts(text: str, reader: str | Tokenizer, context_length: int) -> Facts:
    """Those of a visitor's text.

    Raises:
        ValueError: no model can learn from it.
    """
    corpus = own_corpus(text, reader, context_length)
    key = corpus.sha256, reader
    facts = OWN_FACTS.get(key)
    if facts is None:
        facts = facts_of(corpus)
        OWN_FACTS.put(key, facts, 1)
    return facts


@functools.lru_cache(maxsize=16)
def corpus_facts(name: str, reader: str | Tokenizer) -> Facts:
    return facts_of(load_corpus(name, reader))


def facts_of(corpus: Corpus) -> Facts:
    """A quarter of a second for a million characters."""
    return Facts(
        corpus.size,
        corpus.tokenizer.vocab_size,
        len(corpus.train),
        len(corpus.validation),
        tuple((name, loss) for name, loss in baseline_losses(corpus).items() if name != KNOWN_RULE),
        corpus.known_loss,
        overlap(corpus),
        packed_share(corpus),
    )


def packed_share(corpus: Corpus) -> float:
    """How much gzip leaves of a text."""
    content = "".join(corpus.tokenizer.decode(ids) for ids in (corpus.train, corpus.validation)).encode()
    return len(zlib.compress(content)) / len(content)


def rows(facts: Facts) -> list[tuple[str, str]]:
    found = [
        ("Characters", f"{facts.size:,}"),
        ("Vocabulary", f"{several(facts.vocab_size, 'token')}"),
        ("Split", f"{several(facts.train, 'token')} to train, {facts.validation:,} to validate"),
        ("gzip", f"leaves {facts.packed:.1%} of the bytes"),
    ]
    if facts.known_loss is not None:
        known = f"{facts.known_loss:.2f} nats per token are lost by a model that knows the rule and sees whole lines"
        found.append(("To reach", known))
    if facts.validation >= PASSAGE:
        passages = f"in passages of {PASSAGE} tokens or more that stand in training word for word"
        found.insert(3, ("Repeated", f"{facts.known.in_passages:.1%} of the validation part, {passages}"))
    return found


def warnings(facts: Facts) -> list[str]:
    share, known = facts.known.in_passages, ""
    if facts.known.is_copied:
        known = "the whole of its validation part stands in training word for word"
    elif share >= SHARE_TO_WARN_OF:
        known = f"{share:.0%} of its validation part lies in passages of {PASSAGE} tokens that training has, too"
    if known:
        return [f"This text repeats itself: {known}. A low validation loss may be memory."]
    if facts.packed < PACKED_TO_WARN_OF:
        return [f"This text repeats itself: gzip leaves {facts.packed:.1%} of it. There is little to learn."]
    return []
