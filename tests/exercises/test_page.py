"""The page of exercises, and where exercises do not stand."""

from tlab.exercises import EXERCISES
from tlab.exercises.page import PAGE, exercises_table
from tlab.registry import REGISTRIES


def test_the_page_of_exercises_is_up_to_date():
    assert exercises_table() in PAGE.read_text(encoding="utf-8"), "run python -m tlab.exercises.page"


def test_the_table_of_exercises_names_every_known_mistake():
    rows = exercises_table().splitlines()[2:]
    for (key, kind), row in zip(EXERCISES.items(), rows, strict=True):
        assert row.startswith(f"| `{key}` | ") and row.count(" | ") == 2
        assert all(mistake.name in row for mistake in kind().mistakes)


def test_an_exercise_is_no_part_of_the_lab_with_a_page_of_its_own_among_the_switches():
    assert EXERCISES.slot not in REGISTRIES
