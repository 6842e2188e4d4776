"""The code pages and the README's table: made of what is registered, complete, and true to the files."""

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tlab.nn.activations import ACTIVATIONS, Activation, Gelu
from tlab.nn.residuals import RESIDUALS, Residual
from tlab.registry import REGISTRIES, UnknownKeyError
from tlab.source import (
    BEGIN,
    CORE_PARTS,
    CORE_SLOT,
    END,
    PAGE,
    bare_code,
    compare_code,
    page,
    slots,
    switches_table,
    update_page,
)

ROOT = Path(__file__).parents[1]
EVERYTHING = [(slot, key) for slot, registry in REGISTRIES.items() for key in registry]


@pytest.fixture
def newcomer():
    """An activation that was registered while the program ran."""

    @ACTIVATIONS.add("newcomer", label="New|comer", formula=r"|x|", source="this test")
    class Newcomer(Gelu):
        """Passes by | and on.

        Notice: it is gone
        after the test.

        This paragraph is not part of the notice.
        """

        def forward(self, x):
            return super().forward(x)

    yield Newcomer
    ACTIVATIONS.remove("newcomer")


@pytest.mark.parametrize(("slot", "key"), EVERYTHING)
def test_a_page_shows_the_class_where_it_stands(slot, key):
    shown = page(slot, key)
    lines = (ROOT / shown.file).read_text(encoding="utf-8").splitlines()
    assert lines[shown.line - 1 :][: len(shown.code.splitlines())] == shown.code.splitlines()
    assert f"class {REGISTRIES[slot][key].__name__}" in shown.code


@pytest.mark.parametrize(("slot", "key"), EVERYTHING)
def test_a_page_has_a_title_and_one_sentence(slot, key):
    shown = page(slot, key)
    assert shown.title and shown.summary.endswith(".")


def test_the_parts_begin_with_reference_forward_and_backward():
    assert list(page("norm", "layernorm").parts)[:3] == ["reference", "forward", "backward"]


def test_a_part_is_the_method_alone_at_the_left_margin():
    forward = page("norm", "none").parts["forward"]
    assert forward == "def forward(self, x: Array) -> tuple[Array, None]:\n    return x, None\n"


def test_methods_of_the_contract_are_no_parts():
    @RESIDUALS.add("half", label="half done")
    class HalfDone(Residual):
        """Has a way back only."""

        def backward(self, dy, trace, attention, mlp):
            return dy

    try:
        assert list(page("residual", "half").parts) == ["backward"]
    finally:
        RESIDUALS.remove("half")


def test_inherited_parts_are_shown_as_well(newcomer):
    parts = page("activation", "newcomer").parts
    assert "super()" in parts["forward"] and parts["backward"] == page("activation", "gelu").parts["backward"]


@pytest.mark.parametrize("key", CORE_PARTS)
def test_a_page_of_the_core_shows_each_function_as_it_stands_in_its_file(key):
    shown = page(CORE_SLOT, key)
    assert shown.summary and shown.formula and shown.file.startswith("tlab/")
    for function, (name, code) in zip(CORE_PARTS[key].functions, shown.parts.items(), strict=True):
        file = Path(function.__code__.co_filename).read_text(encoding="utf-8")
        assert f"def {name.split('.')[-1]}(" in code
        assert code in file or textwrap.indent(code, "    ") in file


def test_the_core_has_pages_for_the_way_from_tokens_to_an_update():
    names = {name for key in CORE_PARTS for name in page(CORE_SLOT, key).parts}
    assert {"forward", "backward", "causal_mask", "masked_softmax", "train_step", "choose"} <= names


@pytest.mark.parametrize("slot", REGISTRIES)
def test_a_comparison_holds_both_classes_whole(slot):
    codes = [bare_code(component) for component in REGISTRIES[slot].values()]
    for first, second in itertools.permutations(codes, 2):
        old, new = first.splitlines(), second.splitlines()
        lines = compare_code(first, second)
        assert [line.number for line in lines if line.sign != "+"] == list(range(len(old)))
        kept = [new[line.number] if line.sign == "+" else old[line.number] for line in lines if line.sign != "-"]
        assert kept == new


def test_pre_and_post_norm_differ_in_where_the_norm_stands():
    first, second = RESIDUALS["pre"], RESIDUALS["post"]
    old, new = bare_code(first).splitlines(), bare_code(second).splitlines()
    lines = compare_code(bare_code(first), bare_code(second))
    assert [old[line.number].strip() for line in lines if line.sign == "-"] == [
        "class PreNorm(Sequential):", 'norm_places = ("in",)', "final_norm = True", "return x + f(norm(x))"
    ]  # fmt: skip
    assert [new[line.number].strip() for line in lines if line.sign == "+"] == [
        "class PostNorm(Sequential):", 'norm_places = ("sum",)', "final_norm = False", "return norm(x + f(x))"
    ]  # fmt: skip


def test_code_without_words_does_the_same(newcomer):
    bare = bare_code(newcomer)
    assert "@" not in bare and '"""' not in bare and "Notice" not in bare
    scope = {"Gelu": Gelu}
    exec(bare, scope)
    assert scope["Newcomer"]().forward(np.ones(3))[0] == pytest.approx(newcomer().forward(np.ones(3))[0])


def test_the_notice_is_one_paragraph(newcomer):
    assert page("activation", "newcomer").notice == "it is gone after the test."


def test_a_class_without_a_file_has_a_page_that_says_so():
    scope = {"Activation": Activation}
    exec("class Typed(Activation):\n    'Typed in.'\n    def forward(self, x): return x, None", scope)
    ACTIVATIONS.add("typed", label="typed")(scope["Typed"])
    try:
        shown = page("activation", "typed")
    finally:
        ACTIVATIONS.remove("typed")
    assert (shown.file, shown.line) == ("", 0) and "no file" in shown.code and "no file" in shown.parts["forward"]


@pytest.mark.parametrize(("slot", "key", "allowed"), [("norms", "layernorm", "activation"), ("norm", "ln", "rmsnorm")])
def test_an_unknown_page_is_an_error_that_names_the_known_ones(slot, key, allowed):
    with pytest.raises(UnknownKeyError, match=allowed):
        page(slot, key)


@pytest.mark.parametrize(("slot", "key"), EVERYTHING)
def test_the_table_has_a_row_for_everything(slot, key):
    assert any(row.startswith(f"| {slot} | `{key}` | ") for row in switches_table().splitlines())


def test_the_table_has_a_row_for_what_was_registered_just_now(newcomer):
    assert "| `newcomer` | " in switches_table()


def test_every_row_of_the_table_has_as_many_cells(newcomer):
    assert {row.replace(r"\|", "").count("|") for row in switches_table().splitlines()} == {7}


def test_the_page_keeps_what_is_around_its_table(tmp_path):
    page_file = tmp_path / "switches.md"
    page_file.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n", encoding="utf-8")
    assert update_page(page_file)
    assert page_file.read_text(encoding="utf-8") == f"above\n{BEGIN}\n{switches_table()}\n{END}\nbelow\n"


def test_updating_twice_changes_nothing(tmp_path):
    page_file = tmp_path / "switches.md"
    page_file.write_text(f"{BEGIN}{END}", encoding="utf-8")
    assert (update_page(page_file), update_page(page_file)) == (True, False)


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_page_without_proper_markers_is_left_alone(text, tmp_path):
    page_file = tmp_path / "switches.md"
    page_file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="switches"):
        update_page(page_file)
    assert page_file.read_text(encoding="utf-8") == text


def test_the_command_updates_a_page_and_says_so(tmp_path):
    page_file = tmp_path / "switches.md"
    page_file.write_text(f"{BEGIN}{END}", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "tlab.source", page_file], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "") and "has been updated" in done.stdout


def test_the_page_of_switches_is_up_to_date():
    assert switches_table() in PAGE.read_text(encoding="utf-8"), "run python -m tlab.source"


def test_slots_that_a_config_chooses_from_come_first_whatever_was_imported_first():
    order = slots()
    assert order[:2] == ["tokenizer", "norm"] and set(order) == set(REGISTRIES)
    assert order.index("schedule") < order.index("bug") < order.index("corpus") < order.index("probe")
