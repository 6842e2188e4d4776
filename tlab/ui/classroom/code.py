"""The code by which students find a class, the key by which its teacher is known, and how many may be tried."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # no 0 and O, no 1, I and L: it is read from a wall and typed
CODE_LENGTH = 8  # 8.5e11 codes: with a million tries the chance to find one of a hundred classes is 1 in 8,000
KEY = re.compile(r"[\w-]{43}", re.ASCII)
KEY_BYTES = 32
SECONDS_OF_TRIES = 600.0
MAX_TRIES_OF_BROWSER, MAX_TRIES_OF_ADDRESS = 20, 300  # in that time; a room has one address
MAX_OPENED_BY_BROWSER, MAX_OPENED_BY_ADDRESS = 10, 40  # classes in that time; a school has one address
MAX_COUNTED = 10_000  # browsers and addresses whose tries are counted


class ClassError(ValueError):
    """What cannot be done in a class; the message says why, and what to do."""


def new_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def read_code(typed: object) -> str:
    """A code as somebody typed it, with or without a hyphen, in small letters or capitals.

    Raises:
        ClassError: no code looks like this.
    """
    given = typed if isinstance(typed, str) else ""
    code = re.sub(r"[\s-]", "", given[:100]).upper()
    if len(code) != CODE_LENGTH or not set(code) <= set(ALPHABET):
        raise ClassError(
            f"A code has {CODE_LENGTH} letters and digits, such as {shown_code('K7QM4T2P')}; 0, 1, I, L and O are none "
            "of them. Type it again."
        )
    return code


def shown_code(code: str) -> str:
    """A code as people read it, in two halves."""
    half = CODE_LENGTH // 2
    return f"{code[:half]}-{code[half:]}"


def new_key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)


def hash_of(key: str) -> str:
    """All that the server keeps of a key, which is too long to be guessed from it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_key(given: object, key_hash: str) -> bool:
    """Whether this is the key of that hash."""
    key = given if isinstance(given, str) and KEY.fullmatch(given) else ""
    return hmac.compare_digest(hash_of(key), key_hash)


class Tries:
    """How often a browser and an address have failed lately.

    Args:
        of_browser: the most that one may in `SECONDS_OF_TRIES`.
        of_address: the most that all of one address may.
        words: what to tell who has.
        clock: seconds from anywhere.
    """

    def __init__(
        self,
        of_browser: int = MAX_TRIES_OF_BROWSER,
        of_address: int = MAX_TRIES_OF_ADDRESS,
        words: str = "Too many codes were tried from here. Wait ten minutes, or open the link of your teacher then.",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.of_browser, self.of_address, self.words, self.clock = of_browser, of_address, words, clock
        self.lock = threading.Lock()
        self.times: dict[str, deque[float]] = {}  # of whom -> when

    def check(self, session: str, address: str) -> None:
        """Refuse who has tried too often.

        Raises:
            ClassError: they have.
        """
        with self.lock:
            for who, most in (
                (f"session {session}", self.of_browser),
                (f"address {address}", self.of_address),
            ):
                times = self.times.get(who, deque())
                while times and times[0] < self.clock() - SECONDS_OF_TRIES:
                    times.popleft()
                if len(times) >= most:
                    raise ClassError(self.words)

    def failed(self, session: str, address: str) -> None:
        with self.lock:
            for who in (f"session {session}", f"address {address}"):
                self.times.setdefault(who, deque(maxlen=self.of_address)).append(self.clock())
            while len(self.times) > MAX_COUNTED:
                self.times.pop(next(iter(self.times)))
