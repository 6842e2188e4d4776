"""The lists of breaks are those of the code as it is."""

import ast

import pytest

from mutations import MUTATIONS, ROOT, TESTS
from sampled_mutations import EQUIVALENT, ROOMS, broken, mutations_of


@pytest.mark.parametrize("file", sorted({file for file, _, _ in MUTATIONS}))
def test_what_a_break_by_hand_replaces_stands_once_in_its_file(file):
    text = (ROOT / "tlab" / file).read_text("utf-8")
    assert [old for name, old, _ in MUTATIONS if name == file and text.count(old) != 1] == []


def test_the_tests_that_judge_breaks_are_there():
    judges = [judge for tests in ROOMS.values() for judge in tests]
    assert [name for name in TESTS if not (ROOT / "tests" / name).is_file()] == []
    assert [room for room in [*ROOMS, *judges] if not (ROOT / room).exists()] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("a in b", ["a not in b"]),
        ("a - b", ["a + b"]),
        ("a and b", ["a or b"]),
        ("3", ["4", "2"]),
        ("True", ["False"]),
        ("'text'", []),
        ("f'{a}' + b", []),
    ],
)
def test_breaks_of_an_expression(source, expected):
    assert [ast.unparse(new) for new in broken(ast.parse(source, mode="eval").body)] == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [("x += 1", ["x -= 1", "pass"]), ("print()", ["pass"]), ("raise ValueError(x)", ["pass"]), ("x = 1", [])],
)
def test_breaks_of_a_statement(source, expected):
    assert [ast.unparse(new) for new in broken(ast.parse(source).body[0])] == expected


def test_a_broken_file_differs_in_the_one_place():
    file = "tlab/inside/held_out.py"
    whole = (ROOT / file).read_text("utf-8").splitlines()
    made = list(mutations_of(file))
    assert len(made) > 20
    for mutation in made:
        assert mutation.before in "\n".join(whole) and mutation.source != "\n".join([*whole, ""])
        assert mutation.source.splitlines()[: mutation.line - 1] == whole[: mutation.line - 1]


def test_a_break_that_changes_nothing_is_one_that_is_made():
    for file in {file for file, _, _, _ in EQUIVALENT}:
        made = {(m.file, m.text, m.before, m.after) for m in mutations_of(file)}
        assert {place for place in EQUIVALENT if place[0] == file} <= made
