"""Registries: the one place where a part is named."""

import pytest

from support import FIRST_EDITION
from tlab.registry import REGISTRIES, Registry, UnknownKeyError


@pytest.fixture
def registry():
    yield Registry("fruit")
    del REGISTRIES["fruit"]


def test_a_registered_class_is_found_by_its_key_with_what_people_are_told(registry):
    @registry.add("apple", label="Apple", formula="a", source="Newton 1687")
    class Apple:
        """Falls.

        Notice: down.
        """

    assert registry["apple"] is Apple
    entry = registry.entries["apple"]
    assert (entry.label, entry.formula, entry.source, entry.summary) == ("Apple", "a", "Newton 1687", "Falls.")


def test_keys_keep_their_order(registry):
    for key in ("pear", "apple", "fig"):
        registry.add(key, label=key)(object)
    assert list(registry) == ["pear", "apple", "fig"]


def test_an_unknown_key_is_told_with_the_allowed_ones_and_the_nearest(registry):
    registry.add("apple", label="Apple")(object)
    registry.add("pear", label="Pear")(object)
    with pytest.raises(UnknownKeyError) as caught:
        registry["appel"]
    assert str(caught.value) == "unknown fruit 'appel'; allowed: apple, pear. Did you mean 'apple'?"


def test_what_is_no_key_at_all_is_an_unknown_key_too(registry):
    with pytest.raises(UnknownKeyError, match="unknown fruit"):
        registry[["apple"]]


def test_a_key_cannot_be_taken_twice(registry):
    registry.add("apple", label="Apple")(object)
    with pytest.raises(ValueError, match="'apple' is registered already"):
        registry.add("apple", label="Apple")


def test_a_removed_key_is_unknown(registry):
    registry.add("apple", label="Apple")(object)
    registry.remove("apple")
    assert "apple" not in registry
    with pytest.raises(UnknownKeyError):
        registry.remove("apple")


@pytest.mark.parametrize("slot", FIRST_EDITION)
def test_the_published_keys_are_there_in_their_order(slot):
    assert [key for key in REGISTRIES[slot] if key in FIRST_EDITION[slot]] == FIRST_EDITION[slot]


@pytest.mark.parametrize(
    ("slot", "key"), [(slot, key) for slot, registry in REGISTRIES.items() for key in registry if slot in FIRST_EDITION]
)
def test_every_part_tells_what_it_is_in_one_sentence(slot, key):
    entry = REGISTRIES[slot].entries[key]
    assert entry.label
    assert entry.summary.endswith(".")
