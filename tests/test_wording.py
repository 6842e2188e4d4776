"""Names that people read: one for each part of a model, whoever writes it."""

import re
from pathlib import Path

import pytest

from support import tiny
from tlab.inside.interventions import Part, parts_of
from tlab.inside.probes.gradients import parameter_part
from tlab.nn.model import Transformer
from tlab.wording import head_name, layer_name, part_name, sentence, short_number

ROOT = Path(__file__).parents[1]
NAMING = {"tlab/wording.py", "tlab/ui/widgets/common.js"}  # the two that turn an index into a name
WRITTEN_BY_HAND = re.compile(r"\b(layer|head) \$?\{|\b(layer|head)\)? \+ 1\b|\{\{[^}]*(layer|head) \+ 1")


def test_the_key_of_every_part_has_a_name_that_counts_from_one():
    model = Transformer(tiny())
    keys = [str(part) for part in (*parts_of(model), Part(0, "mlp", 3))]
    names = [part_name(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert not any(re.search(r"\b0\b|\.", name) for name in names)
    assert part_name("attention.1.head.0") == part_name("1.0") == head_name(1, 0) == "head 1 of layer 2"
    assert {part_name(parameter_part(name)) for name in model.parameters} >= {
        "attention of layer 1",
        "MLP of layer 2",
    }


@pytest.mark.parametrize("name", ["positions", "norms", "embedding", "token", "offset", "loss", "logits", ""])
def test_what_is_in_no_layer_is_its_own_name(name):
    assert part_name(name) == name


def test_a_block_as_a_whole_is_its_layer():
    assert part_name("blocks.2") == layer_name(2) == "layer 3"


def test_no_page_and_no_command_makes_up_a_name_of_a_layer_or_head():
    files = [path for folder in ("tlab/ui", "tlab/cli") for path in (ROOT / folder).rglob("*")]
    for path in files:
        if path.suffix in (".py", ".js", ".html") and str(path.relative_to(ROOT)) not in NAMING:
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                assert not WRITTEN_BY_HAND.search(line), f"{path}:{number} names a layer or head itself: {line.strip()}"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.0555, "0.0555"), (0.000119, "1.19e-4"), (0.0009999, "0.001"), (2.4479, "2.45"), (54321, "54300"),
     (99999, "1e+5"), (-1e6, "−1e+6"), (float("inf"), "inf")],
)  # fmt: skip
def test_a_short_number_has_three_digits_and_a_power_of_ten_only_where_it_is_short_so(value, words):
    assert short_number(value) == words


def test_a_short_number_can_have_fewer_digits():
    assert (short_number(0.000119, 2), short_number(2.4479, 2)) == ("1.2e-4", "2.4")


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ("the text holds an unknown character", "The text holds an unknown character."),
        ("steps = 0: must be 1 or more", "steps = 0: must be 1 or more."),
        ("Which one?", "Which one?"),
        ("", ""),
    ],
)
def test_an_error_is_a_sentence_that_others_can_follow(words, whole):
    assert sentence(words) == whole
