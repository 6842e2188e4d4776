"""The units in which a study tells its losses: nats per token, and bits per byte where the bytes are known."""

from __future__ import annotations

from tlab.judging.two_models import SecondUnit
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, bits_per_byte
from tlab.ui.studies.study import Study
from tlab.wording import written


def bits_unit(study: Study) -> SecondUnit | None:
    """Bits per byte, where the bytes of a token are known."""
    per_token = study.bytes_per_token
    return None if per_token is None else SecondUnit(BITS_PER_BYTE, bits_per_byte(1.0, per_token))


def brackets(nats: float, bits: SecondUnit | None, specification: str) -> str:
    """A loss or a difference in bits per byte, to stand after the same in nats per token."""
    return "" if bits is None else f" ({written(nats * bits.per_first, specification)})"


def units_words(bits: SecondUnit | None) -> str:
    """What the numbers of a table are, in a sentence."""
    return f"Losses in {NATS_PER_TOKEN}" + ("." if bits is None else f", in brackets in {bits.name}.")
