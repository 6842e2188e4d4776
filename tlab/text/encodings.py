"""The text in a file of any usual encoding: of old editors and other systems, too."""

from __future__ import annotations

from typing import NamedTuple

NO_TEXT = {
    b"\x1f\x8b": "packed (gzip); unpack it first",
    b"BZh": "packed (bzip2); unpack it first",
    b"\xfd7zXZ\x00": "packed (xz); unpack it first",
    b"\x28\xb5\x2f\xfd": "packed (Zstandard); unpack it first",
    b"7z\xbc\xaf\x27\x1c": "packed (7-Zip); unpack it first",
    b"PK\x03\x04": "packed (zip); unpack it first, or save it as plain text where it is a document",
    b"\xd0\xcf\x11\xe0": "a Word document; save it as plain text",
    b"%PDF-": "a PDF; save it as plain text",
    b"{\\rtf": "a document in Rich Text Format; save it as plain text",
}
"""How a file begins that is no plain text -> what it is, and what to do."""

# Between encodings that all fit, a detector has to guess by the language. These are likelier than any other.
USUAL = ["utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "cp1252", "latin_1"]
SHOWN_NAMES = {"ascii": "UTF-8", "cp1252": "Windows-1252", "latin_1": "Latin-1"}


class DecodedText(NamedTuple):
    """A text, and how it was found in the bytes."""

    text: str
    encoding: str  # as people write it


def other_kind(content: bytes) -> str | None:
    """What it is in place of plain text, as "packed (zip)", and what to do; None for what may be text."""
    return next((kind for start, kind in NO_TEXT.items() if content.startswith(start)), None)


def decode_text(content: bytes) -> DecodedText:
    """The text of these bytes, without the mark of its byte order.

    Raises:
        ValueError: they are no plain text; the message begins with what they are, as in "is packed (zip)".
    """
    from charset_normalizer import from_bytes  # as long as `import tlab` takes without it

    kind = other_kind(content)
    if kind:
        raise ValueError(f"is {kind}")
    best = from_bytes(content, cp_isolation=USUAL).best() or from_bytes(content).best()
    if best is None:
        raise ValueError("is not text in any known encoding: perhaps a picture, a program or another binary file")
    text = str(best).removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError("contains null bytes, so it is not text: perhaps a binary file")
    return DecodedText(text, SHOWN_NAMES.get(best.encoding, best.encoding.upper().replace("_", "-")))
