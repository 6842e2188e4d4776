"""A dictionary within a budget of bytes: the least recently used entry goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class CachedValue(Generic[Value]):  # no NamedTuple: on Python 3.10 that cannot be generic
    """A value in the cache."""

    value: Value
    size: int  # bytes
    owner: str


class ByteBudgetCache(Generic[Key, Value]):
    """Values by key, within a budget of bytes; safe to use from many threads.

    Args:
        budget: bytes that all values together may take. A value larger than all of it is not kept.
        share: bytes that the values of one owner may take; by default all.
    """

    def __init__(self, budget: int, share: int | None = None) -> None:
        self.budget = budget
        self.share = budget if share is None else share
        self.entries: OrderedDict[Key, CachedValue[Value]] = OrderedDict()  # least recently used first
        self.used = 0
        self.used_by: dict[str, int] = {}  # owner -> bytes
        # Reentrant: whoever holds it may put and drop, and a value's weak reference may drop it at any time.
        self.lock = threading.RLock()

    def put(self, key: Key, value: Value, size: int, owner: str = "") -> None:
        """Keep a value of `size` bytes, which counts towards the share of its owner."""
        with self.lock:
            self.drop(key)
            self.entries[key] = CachedValue(value, size, owner)
            self.used += size
            self.used_by[owner] = self.used_by.get(owner, 0) + size
            while self.used_by.get(owner, 0) > self.share:
                self.drop(next(key for key, entry in self.entries.items() if entry.owner == owner))
            while self.used > self.budget:
                self.drop(next(iter(self.entries)))

    def get(self, key: Key) -> Value | None:
        """The value, or None if there is none or it had to make room."""
        with self.lock:
            if key not in self.entries:
                return None
            self.entries.move_to_end(key)
            return self.entries[key].value

    def drop(self, key: Key) -> None:
        with self.lock:
            if key not in self.entries:
                return
            entry = self.entries.pop(key)
            self.used -= entry.size
            self.used_by[entry.owner] -= entry.size
            if not self.used_by[entry.owner]:
                del self.used_by[entry.owner]

    def drop_owner(self, owner: str) -> None:
        with self.lock:
            for key in [key for key, entry in self.entries.items() if entry.owner == owner]:
                self.drop(key)
