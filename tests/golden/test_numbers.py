"""No number has changed since the first edition, whose numbers numbers.json holds; see make.py.

On a machine of the kind that they were made on they are equal to the last bit. Elsewhere sums are added up in another
order, and the last digits differ: there they are equal within a tolerance, and the tests of the last bit are skipped,
with the reason.
"""

import json
import math
import shutil
import zipfile

import pytest

from golden import measure

GOLDEN = json.loads(
    (measure.FOLDER / "numbers.json").read_text(encoding="utf-8").replace("attention.mixed", "attention.attended")
)
"""As the first edition made it, but for the one name that a trace has changed: the heads' results side by side."""
HERE = measure.machine()
OTHER = {name: (HERE[name], was) for name, was in GOLDEN["machine"].items() if HERE[name] != was}
WHY = "; ".join(
    f"{name} {here} instead of {was}" if isinstance(was, str) else f"{name} differs in {', '.join({*here} ^ {*was})}"
    for name, (here, was) in OTHER.items()
)
TOLERANCES = {"float64": 1e-9, "float32": 2e-5, "checks": 1e-7}
"""Largest difference, as a share of the number, or of 1 where it is smaller. Kernels of OpenBLAS for three processors,
NumPy 2.1 and 2.4, and NumPy without AVX512 differ by up to 1e-10, 6e-6 and 6e-9."""

ROUNDED = ("sha256", "optimizer_sha256", "numbers")  # hashes, and numbers that are rounded in a text
MAGNIFIED = ("weights", "share")
"""Not compared in float32. A key's bias has a gradient of 0 but for rounding, which Adam makes as large as any other;
and where a patch matters little, its share is the ratio of two small differences."""

OWN_BACKWARD = ("trace", "walk")
"""Probes that the first edition gave a backward pass of their own. Now they record that of training, which multiplies
in another order: these tables are compared within the tolerance alone."""

MENDED = {"patch": "sandwich"}
"""Probe -> the layout in which the first edition took the size of a norm from the wrong text."""

MEASURES = {
    "training": measure.training,
    "generation": measure.generation,
    "probes": lambda settings, dtype: measure.probes(settings, dtype, list(GOLDEN["probes"][0]["values"])),
    "checks": measure.checks,
}
CASES = [
    pytest.param(part, number, id=f"{part}-{number}-{case.get('dtype', 'float64')}")
    for part in MEASURES
    for number, case in enumerate(GOLDEN[part])
]


def exactly(test):
    """A test of the last bit, on a machine of that kind, with the one constant that changed bits since as it was."""
    skip = pytest.mark.skipif(bool(OTHER), reason=f"compared within a tolerance, not to the last bit: {WHY}")
    return pytest.mark.usefixtures("shifted_as_then")(skip(test))


def numbers_now(part: str, number: int):
    case = GOLDEN[part][number]
    return MEASURES[part](*(case[name] for name in ("settings", "dtype") if name in case))


def compared(part: str, number: int):
    """The numbers of now, and those of the first edition; of probes without those that were mended in this layout."""
    case = GOLDEN[part][number]
    both = numbers_now(part, number), case["values"]
    if part != "probes":
        return both
    layout = case["settings"].get("residual", "pre")
    return tuple({name: table for name, table in one.items() if MENDED.get(name) != layout} for one in both)


@exactly
@pytest.mark.parametrize(("part", "number"), CASES)
def test_numbers_are_those_of_the_first_edition_to_the_last_bit(part, number):
    now, golden = compared(part, number)
    if part == "probes":
        now, golden = (
            {name: table for name, table in all.items() if name not in OWN_BACKWARD} for all in (now, golden)
        )
    assert now == golden


@pytest.mark.parametrize(("part", "number"), CASES)
def test_numbers_are_those_of_the_first_edition_within_a_tolerance(part, number):
    case = GOLDEN[part][number]
    kind = case.get("dtype", part)
    left_out = (*ROUNDED, *MAGNIFIED) if kind == "float32" else ROUNDED
    assert not list(differences(*compared(part, number), TOLERANCES[kind], left_out))


def differences(found, golden, tolerance, left_out=ROUNDED, place=""):
    """What differs by more than the tolerance, and where."""
    if isinstance(golden, dict):
        if found.keys() != golden.keys():
            yield f"{place}: {sorted(found)} instead of {sorted(golden)}"
            return
        for name, one in golden.items():
            if name not in left_out:
                yield from differences(found[name], one, tolerance, left_out, f"{place}.{name}")
    elif isinstance(golden, list):
        if len(found) != len(golden):
            yield f"{place}: {len(found)} instead of {len(golden)}"
            return
        for i, (one, was) in enumerate(zip(found, golden, strict=True)):
            yield from differences(one, was, tolerance, left_out, f"{place}[{i}]")
    elif isinstance(golden, float) and isinstance(found, float):
        if not math.isclose(found, golden, rel_tol=tolerance, abs_tol=tolerance):
            yield f"{place}: {found!r} instead of {golden!r}"
    elif found != golden:
        yield f"{place}: {found!r} instead of {golden!r}"


def test_a_difference_in_a_number_is_found():
    golden = {"loss": [1.0, 2.0], "sha256": "a"}
    assert not list(differences({"loss": [1.0, 2.0 + 1e-12], "sha256": "b"}, golden, 1e-9))
    assert list(differences({"loss": [1.0, 2.0 + 1e-6], "sha256": "a"}, golden, 1e-9)) == [
        ".loss[1]: 2.000001 instead of 2.0"
    ]


def test_the_golden_numbers_are_of_every_part_that_the_first_edition_had():
    chosen = {(name, value) for case in GOLDEN["training"] for name, value in case["settings"].items()}
    for slot, keys in {
        "norm": ["layernorm", "rmsnorm", "none"],
        "activation": ["relu", "gelu", "swish", "swiglu"],
        "residual": ["pre", "post", "sandwich"],
        "position": ["none", "learned", "sinusoidal", "rope", "alibi"],
        "optimizer": ["sgd", "adam", "adamw"],
        "schedule": ["constant", "linear", "cosine"],
        "init": ["gpt2", "xavier"],
        "tokenizer": ["char", "byte"],
    }.items():
        assert {(slot, key) for key in keys} <= chosen


# ------------------------------------------------------------------------------------------------ a sweep


@pytest.fixture
def both_sweeps(tmp_path):
    """The tables of the golden sweep, and of the same sweep run now."""
    shutil.copyfile(measure.FOLDER / "text.txt", tmp_path / "text.txt")
    measure.swept(tmp_path / "now")
    with zipfile.ZipFile(measure.FOLDER / "sweep.zip") as archive:
        golden = {name: archive.read(f"sweep/{name}").decode() for name in ("cells.csv", "curves.csv", "summary.csv")}
    return {name: (tmp_path / "now" / name).read_text("utf-8") for name in golden}, golden


def cells_of(tables):
    """The cells of two editions, in the columns that the first one had."""
    now, golden = (measure.cells(of_edition["cells.csv"]) for of_edition in tables)
    return {key: {name: cell[name] for name in golden.get(key, cell)} for key, cell in now.items()}, golden


@exactly
def test_a_sweep_gives_the_same_tables_to_the_last_bit(both_sweeps):
    now, golden = both_sweeps
    cells, golden_cells = cells_of(both_sweeps)
    assert cells == golden_cells
    assert now["curves.csv"] == golden["curves.csv"]
    assert measure.in_columns_of(golden["summary.csv"], now["summary.csv"]) == golden["summary.csv"]


def test_a_sweep_gives_the_same_cells_within_a_tolerance(both_sweeps):
    now, golden = cells_of(both_sweeps)
    assert now.keys() == golden.keys()  # the ids hash what decides the numbers, and are no floats

    def numbers(cell):
        return {k: float(v) if k.endswith("loss") and v else v for k, v in cell.items()}

    for cell_id, cell in golden.items():
        assert not list(differences(numbers(now[cell_id]), numbers(cell), TOLERANCES["float32"]))
