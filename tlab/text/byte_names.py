"""How the library `tokenizers` writes bytes as text: each is a printable character."""

from __future__ import annotations

NUM_BYTES = 256  # the first ids of byte pair encoding: every byte is a token, so that no text is unknown


def byte_names() -> list[str]:
    """How the library writes each byte: printable Latin-1 as it is, all others from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(NUM_BYTES, 2 * NUM_BYTES))
    return [chr(b) if b in printable else chr(next(others)) for b in range(NUM_BYTES)]


BYTE_NAMES = byte_names()


def library_name(token: bytes) -> str:
    """How the library writes a token."""
    return "".join(BYTE_NAMES[b] for b in token)
