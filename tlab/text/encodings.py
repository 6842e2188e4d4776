"""The text in a file of any usual encoding: of old editors and other systems, too."""

from __future__ import annotations

from typing import NamedTuple

PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\xfd7zXZ\x00": "xz"}
"""How a packed file begins -> what it is."""

# Between encodings that all fit, a detector has to guess by the language. These are likelier than any other.
USUAL = ["utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "cp1252", "latin_1"]
SHOWN_NAMES = {"ascii": "UTF-8", "cp1252": "Windows-1252", "latin_1": "Latin-1"}


class DecodedText(NamedTuple):
    """A text, and how it was found in the bytes."""

    text: str
    encoding: str  # as people write it


def packed_kind(content: bytes) -> str | None:
    """What packed it, as "zip"; None for what is not packed."""
    return next((kind for start, kind in PACKED.items() if content.startswith(start)), None)


def decode_text(content: bytes) -> DecodedText:
    """The text of these bytes, without the mark of its byte order.

    Raises:
        ValueError: they are packed, or no text; the message begins with what they are, as in "is packed (zip)".
    """
    from charset_normalizer import from_bytes  # as long as `import tlab` takes without it

    kind = packed_kind(content)
    if kind:
        raise ValueError(f"is packed ({kind}); unpack it first")
    best = from_bytes(content, cp_isolation=USUAL).best() or from_bytes(content).best()
    if best is None:
        raise ValueError("is not text in any known encoding: perhaps a picture, a program or another binary file")
    text = str(best).removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError("contains null bytes, so it is not text: perhaps a binary file")
    return DecodedText(text, SHOWN_NAMES.get(best.encoding, best.encoding.upper().replace("_", "-")))
