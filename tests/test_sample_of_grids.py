"""With --sample-of-grids or --cases a run has less of each test, and something of everything."""

import collections
import itertools
import re
import subprocess
import sys
from pathlib import Path

from support import sample_of_grid

ROOT = Path(__file__).parents[1]
GRID = ["-".join(words) for words in itertools.product("abc", ("a", "post", "none"), map(str, range(30)))]


def test_a_sample_has_each_word_at_each_place_and_the_order_of_the_grid():
    sample = sample_of_grid(GRID, 10, "3.10")
    for place, words in enumerate(zip(*(name.split("-") for name in GRID), strict=True)):
        assert {name.split("-")[place] for name in sample} == {*words}
    assert sample == sorted(sample, key=GRID.index) and len({*sample}) == len(sample) < 60


def test_a_sample_is_no_smaller_than_asked_for():
    assert len(sample_of_grid(GRID, 100, "3.10")) == 100


def test_the_same_seed_draws_the_same_and_another_one_another():
    assert sample_of_grid(GRID, 10, "3.10") == sample_of_grid(GRID, 10, "3.10") != sample_of_grid(GRID, 10, "3.13")


def test_what_is_no_grid_stays_whole():
    pairs = [f"{a}-{b}" for a in range(4) for b in range(5)]  # 20 of 9 words
    for names in ([f"value{i}" for i in range(200)], pairs, GRID[:10], [""]):
        assert sample_of_grid(names, 10, "3.10") == names


def test_the_option_thins_a_test_of_many_combinations_and_leaves_out_none():
    command = [sys.executable, "-m", "pytest", "-n0", "--collect-only", "-q", "tests/nn/test_model.py"]
    whole, sample = (
        re.findall(r"::(\w+)", subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for asked in (command, [*command, "--sample-of-grids", "40"])
    )
    assert {*whole} == {*sample} and len(sample) <= len(whole) - 300


def test_so_many_cases_of_each_test_run_and_all_of_one_that_has_no_more():
    command = [sys.executable, "-m", "pytest", "-n0", "--collect-only", "-q", "tests/nn/test_model.py"]
    whole, sample = (
        collections.Counter(
            re.findall(r"::(\w+)", subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        )
        for asked in (command, [*command, "--cases", "2"])
    )
    assert max(whole.values()) > 300
    assert sample == {test: min(count, 2) for test, count in whole.items()}
