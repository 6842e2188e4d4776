"""One name, one meaning."""

import ast

from names import MAX_AMBIGUOUS, ambiguous_names, definitions


def test_few_names_stand_in_two_files():
    found = ambiguous_names()
    listing = "\n".join(f"{name}: {', '.join(places)}" for name, places in found.items())
    assert len(found) <= MAX_AMBIGUOUS, f"{len(found)} names have two meanings; rename the new ones:\n{listing}"


def test_functions_classes_and_constants_count_and_nothing_inside_them():
    source = "import os\nA, B = 1, 2\nC: int = 3\ndef f():\n    x = 1\nclass D:\n    y = 1\n    def g(self): ..."
    assert sorted(definitions(ast.parse(source))) == ["A", "B", "C", "D", "f"]


def test_a_name_in_two_files_is_found_and_one_with_a_single_meaning_is_not(tmp_path):
    for package in ("tlab", "sweeps"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text(f"def twice(): ...\ndef main(): ...\ndef in_{package}(): ...\n")
    assert ambiguous_names(tmp_path) == {"twice": ["sweeps/a.py", "tlab/a.py"]}
