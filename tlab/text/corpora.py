"""What the models learn from: a corpus is one text, split into a part to train on and a part to be asked about.

Every corpus carries the sha256 of its text into the record of a run, so that two results on "shakespeare" are
known to be results on the same letters. One corpus never replaces another: a corpus that is not available is an error.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlab.notebook.html import tokens_html
from tlab.registry import Registry, UnknownKeyError
from tlab.text.encodings import other_kind
from tlab.text.tokenizers import TOKENIZERS, Tokenizer, utf8
from tlab.text.units import BytesPerToken

CORPORA: Registry[type[TextSource]] = Registry("corpus")
DEFAULT_CORPUS = "python-docs"  # comes with Python itself: it needs neither network nor files

MINIMUM_CHARACTERS = 20  # then the last tenth holds two: one to go in and one to come out

SHOWN_TOKENS = 400  # in a notebook


class CorpusError(ValueError):
    """A text that cannot be had or used; the message says why and what to do."""


@dataclass(frozen=True, eq=False)  # eq would compare arrays; the sha256 says whether two texts are one
class Corpus:
    """A text as ids, split for training, with what its record has to say about it."""

    name: str
    train: np.ndarray  # the first 90 % of the characters as ids: int32, shape (T,), read-only
    validation: np.ndarray  # the last 10 %, likewise. It was never trained on, yet its characters all have ids.
    tokenizer: Tokenizer
    sha256: str  # of the whole text as used, in UTF-8
    licence: str
    origin: str
    size: int  # characters of the whole text
    known_loss: float | None = None
    """What a model loses on it that knows how it was made and sees each line whole, in nats per token; None where
    nobody knows."""
    answers_after: str | None = None  # the part of a line after which the rest is its answer, where there is one

    @property
    def tokens_per_character(self) -> float:
        """Of the validation part: nats per token times this are nats per character, whatever the tokenizer."""
        return len(self.validation) / len(self.tokenizer.decode(self.validation))

    @cached_property
    def bytes_per_token(self) -> BytesPerToken:
        """Of all tokens but the first, which nobody predicts: what `bits_per_byte` needs besides a loss."""
        parts = (self.train, self.validation)
        return BytesPerToken(*(self.tokenizer.num_bytes(ids[1:]) / max(len(ids) - 1, 1) for ids in parts))

    def _repr_html_(self) -> str:
        """What a notebook shows: how the text begins, token by token, and how much there is of it."""
        ids = self.train[:SHOWN_TOKENS].tolist()
        count, names = len(self.train) + len(self.validation), self.tokenizer.tokens
        about = f"{self.name}: {self.size:,} characters, {count:,} tokens, of which the first {len(ids)} are shown"
        return tokens_html([names[i] for i in ids], ids, f"{about}; vocabulary of {self.tokenizer.vocab_size:,}")

    def describe(self) -> dict[str, Any]:
        """What goes into the record of every run, ready for JSON."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "size": self.size,
            "licence": self.licence,
            "origin": self.origin,
            "tokenizer": self.tokenizer.to_json(),
            "bytes_per_token": self.bytes_per_token._asdict(),
        }


def load_corpus(name: str | os.PathLike[str], tokenizer: str | Tokenizer = "char") -> Corpus:
    """The corpus called `name`: a registered one, a text file by its path, or one in a data folder by its stem.

    Args:
        name: a key of `CORPORA`, "path/to/file.txt", or "file" for `file.txt` in a data folder.
        tokenizer: a key of `TOKENIZERS`, made from the whole text; or a tokenizer to use as it is.

    Raises:
        UnknownKeyError: there is no such corpus, file or tokenizer.
        CorpusError: the text could not be had, is not UTF-8, is too short, or is not the text it should be.
        UnknownCharacterError: a tokenizer was passed that does not know the text's characters.
    """
    name = os.fspath(name)
    if name in CORPORA:
        source = CORPORA[name]()
        text = source.text()
        corpus = corpus_from_text(text, name, source.licence, tokenizer, source.origin)
        known = source.known_loss(text)
        per_token = None if known is None else known * len(text) / (len(corpus.train) + len(corpus.validation))
        return replace(corpus, known_loss=per_token, answers_after=source.answers_after)
    path = Path(name) if os.path.isfile(name) else local_texts().get(name) or unusual_file(name)
    if path is None:
        raise UnknownKeyError(
            f"{CORPORA.explain(name)} Files in data folders: {', '.join(local_texts()) or 'none'}. "
            "The path of any UTF-8 text file is allowed as well"
        )
    # The file's name and not its path, which may hold a user's name.
    return corpus_from_text(read_text(path), path.stem, tokenizer=tokenizer, origin=f"the file {path.name}")


def validation_start(text: str) -> int:
    """Where the last tenth of a text begins, in characters: what is kept for validation."""
    return len(text) - len(text) // 10


def corpus_from_text(
    text: str,
    name: str = "text",
    licence: str = "unknown",
    tokenizer: str | Tokenizer = "char",
    origin: str = "given as text",
) -> Corpus:
    """The corpus that `text` makes; for the arguments and errors see `load_corpus`."""
    if len(text) < MINIMUM_CHARACTERS:
        given = f"has {len(text)} characters" if text else "is empty"
        raise CorpusError(
            f"the text of corpus {name!r} {given}; allowed are {MINIMUM_CHARACTERS} or more, since the last tenth "
            "is kept for validation: give more text"
        )
    sha256 = sha256_of(utf8(text))
    if isinstance(tokenizer, str):
        tokenizer = TOKENIZERS[tokenizer].from_text(text)
    # Characters are split and not ids, so every tokenizer gets the same two texts and none is cut in a character.
    border = validation_start(text)
    train, validation = tokenizer.encode(text[:border]), tokenizer.encode(text[border:])
    if len(validation) < 2:
        raise CorpusError(
            f"the last tenth of corpus {name!r}, which is kept for validation, is a single token, so that there is "
            "nothing to predict: give more text"
        )
    for ids in (train, validation):
        ids.setflags(write=False)
    return Corpus(name, train, validation, tokenizer, sha256, licence, origin, len(text))


def sha256_of(data: bytes) -> str:
    """The digest in hexadecimal."""
    import hashlib  # a twentieth of the time that `import tlab` takes

    return hashlib.sha256(data).hexdigest()


def corpus_names() -> tuple[str, ...]:
    """What `load_corpus` takes here and now: the registered corpora, then the text files in data folders."""
    return (*CORPORA, *local_texts())


def needs_download(name: str) -> bool:
    """Whether `load_corpus` would need the network for it."""
    return name in CORPORA and not CORPORA[name].is_here()


# ------------------------------------------------------------------------------------------------ files


def data_folders() -> list[Path]:
    """Where text files are looked for, the first one first."""
    named = os.environ.get("TLAB_DATA_DIR")
    folders = [Path(named)] if named else []
    return [*folders, Path(__file__).resolve().parents[2] / "data", Path("data")]


def local_texts() -> dict[str, Path]:
    """Text files in the data folders by stem, but for those that belong to a registered corpus."""
    taken = {getattr(source, "file_name", None) for source in CORPORA.values()}
    found: dict[str, Path] = {}
    for folder in filter(os.path.isdir, data_folders()):
        for path in sorted(folder.glob("*.txt")):
            if path.name not in taken and os.path.isfile(path):
                found.setdefault(path.stem, path)
    return found


def unusual_file(name: str) -> Path | None:
    """What a name stands for that is no plain file: a pipe, which can be read; None where there is nothing.

    Raises:
        CorpusError: it is a folder, or nobody can tell what it is.
    """
    try:
        is_folder = stat.S_ISDIR(os.stat(name).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: no path at all
        return None
    except OSError as error:
        raise CorpusError(f"{name} cannot be read: {error.strerror}; allowed is a readable text file") from error
    if is_folder:
        raise CorpusError(f"{name} is a folder; name a text file in it")
    return Path(name)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; line ends and byte order marks of other systems are not part of it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}; allowed is a readable text file") from error
    kind = other_kind(content)
    if kind:
        raise CorpusError(f"{path} is {kind}")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start}; "
            "allowed is UTF-8 text: save the file in that encoding"
        ) from None
    if "\0" in text:
        raise CorpusError(f"{path} contains null bytes, so it is not UTF-8 text; save the file in that encoding")
    if len(set(text)) == 1:
        raise CorpusError(f"{path} is only one character, over and over; there is nothing to learn from it")
    return with_plain_lines(text)


def with_plain_lines(text: str) -> str:
    """The text with one kind of line end: CR LF, the CR of old Macs, and the CR CR LF of a file converted twice."""
    return re.sub("\r+\n|\r", "\n", text)


# ------------------------------------------------------------------------------------------------ texts


class TextSource:
    """Where a registered corpus comes from: the class says what people must know, `text()` gives the text."""

    licence: str
    origin: str
    offline = True  # whether the text can be had without network and without files

    answers_after: str | None = None
    """The part of a line after which the rest of it follows from what was before, where there is one."""

    def text(self) -> str:
        """The whole text, the same on every call."""
        raise NotImplementedError

    def known_loss(self, text: str) -> float | None:
        """What is lost by a model that knows how the text was made and sees each line whole, in nats per character.

        None where nobody knows that.
        """
        return None

    @classmethod
    def is_here(cls) -> bool:
        """Whether the text can be had at once, without network."""
        return True


@CORPORA.add("python-docs", label="Python's documentation", source="Python Software Foundation")
class PythonDocs(TextSource):
    """The language reference that `help("topics")` shows: English prose and code, about half a million characters.

    Notice: it is the text of the Python that runs, so its sha256 differs between Python versions. One topic in four is
    also printed inside another, so some 13 % of the validation text was trained on word for word
    (`tlab.text.overlap`), and the validation loss is lower than on unseen prose.
    """

    licence = "PSF-2.0"
    origin = "pydoc_data.topics of Python's standard library"

    def text(self) -> str:
        """All topics in the order of their names; each begins with its own title, underlined."""
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise CorpusError(
                f"this Python came without its documentation ({error}); "
                "install the full standard library or choose another corpus"
            ) from error
        return "\n".join(topics[name] for name in sorted(topics))


class Download(TextSource):
    """A file of a fixed sha256: taken from a data folder, else downloaded once into the user's cache."""

    offline = False
    file_name: str
    url: str  # names a commit, so that what is there cannot change
    sha256: str

    def text(self) -> str:
        """The file's text, once its sha256 was found right.

        Raises:
            CorpusError: the download failed, or the file is not the one it should be.
        """
        places = [folder / self.file_name for folder in data_folders()]
        # os.path's answer for a folder that may not be read is no, where pathlib's is an error.
        own = next((place for place in places if os.path.isfile(place)), None)
        path = own or self.download()
        found = sha256_of(path.read_bytes())
        if found != self.sha256:
            way_on = "call it otherwise if it is a text of your own, or else remove it" if own else "remove it"
            raise CorpusError(
                f"{path} has sha256 {found}; allowed is {self.sha256}: {way_on}, and the right one will be downloaded"
            )
        return read_text(path)

    @classmethod
    def is_here(cls) -> bool:
        """Whether it lies in a data folder or in the cache."""
        return any(os.path.isfile(folder / cls.file_name) for folder in [*data_folders(), cls.cache()])

    @staticmethod
    def cache() -> Path:
        """Where downloads stay."""
        import pooch

        return Path(pooch.os_cache("tlab"))

    def download(self) -> Path:
        """Download the file unless the cache holds it; returns its place there."""
        try:
            import pooch

            cache = self.cache()
            return Path(pooch.retrieve(self.url, f"sha256:{self.sha256}", fname=self.file_name, path=cache))
        except (ImportError, OSError, ValueError) as error:  # ValueError: pooch's word for a wrong sha256
            offline = ", ".join(key for key, source in CORPORA.items() if source.offline)
            cause = first_cause(error)
            # The place of the cache is nobody's business where a stranger reads this.
            reason = (isinstance(cause, OSError) and cause.strerror) or cause
            raise CorpusError(
                f"{self.file_name} could not be downloaded from {self.url} ({reason}); these corpora work offline: "
                f"{offline}. Or put the file into the folder that TLAB_DATA_DIR names"
            ) from error


def first_cause(error: BaseException) -> BaseException:
    """What began it: of a failed request, "Name or service not known" instead of all that was tried then."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error


@CORPORA.add("shakespeare", label="Shakespeare", source="Karpathy 2015, char-rnn")
class Shakespeare(Download):
    """Forty thousand lines from Shakespeare's plays, "tiny Shakespeare": verse, with a name before each speech."""

    licence = "public domain"
    origin = "karpathy/char-rnn, data/tinyshakespeare/input.txt"
    file_name = "tinyshakespeare.txt"
    url = (
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
        "data/tinyshakespeare/input.txt"
    )
    sha256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


@CORPORA.add("names", label="First names", source="Karpathy 2022, makemore")
class Names(Download):
    """32,033 first names, one a line: short, and what comes out is easily judged by ear.

    Notice: the file is sorted by popularity. Unshuffled, the last tenth would be all rare names, and the
    validation loss would measure how unusual they are instead of how well the model learned. 14 % of the names in the
    validation part are in the training part, too: the file has many names twice.
    """

    licence = "MIT; the names are from US government data"
    origin = "karpathy/makemore, names.txt, lines shuffled"
    file_name = "names.txt"
    url = "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
    sha256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def text(self) -> str:
        """The names in an order that the seed decides."""
        lines = super().text().splitlines()
        order = np.random.default_rng(self.seed).permutation(len(lines))
        return "".join(f"{lines[i]}\n" for i in order)


class Synthetic(TextSource):
    """A text of lines made by rule from a seed, so that it is known what can be learned and what is random."""

    licence = "CC0-1.0"
    origin = "made by this program from a seed"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def line_nats(self, line: str) -> float:
        """What a line and its end cost whoever knows the rule and nothing else: minus the log of its probability."""
        raise NotImplementedError

    def known_loss(self, text: str) -> float:
        return sum(map(self.line_nats, text.splitlines())) / len(text)
