"""The Sweeps tab: what is read from a sweep's files, and what it shows of them."""

import copy
import dataclasses
import gc
import html
import json
import re
import shlex
import warnings
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from pages import built
from support import EVIL, GRADIO
from sweeps.__main__ import main
from sweeps.grid.grid import Grid
from sweeps.grid.parse import parse_grid
from sweeps.report.archive import export, small_form
from sweeps.run.driver import Execution, run_sweep
from sweeps.store.folder import Store
from tlab.files import DamagedFileError
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.training.trainer import Trainer
from tlab.ui.demo.shipped_run import DEMO_SWEEP
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.fields import field_label, format_value
from tlab.ui.settings.links import defaults
from tlab.ui.settings.presets import DEMO_PRESET, preset_job
from tlab.ui.settings.run_settings import settings_of
from tlab.ui.tabs.sweeps.results import ResultsError, demo_results, own_results, read_results
from tlab.ui.tabs.sweeps.tab import SweepsTab, best_numbers
from tlab.ui.tabs.sweeps.view import (
    cells_table,
    curves_value,
    finding_words,
    grid_value,
    pictures,
    spread_words,
    unlike_opening,
)
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO

CELLS = """cell_id,alias_of,status,norm,num_layers,seed,val_loss,n_params,later
a0,,ok,layernorm,2,0,2.0,100,x
a1,,ok,layernorm,2,1,2.2,100,x
b0,,ok,none,2,0,1.0,90,x
b1,,diverged,none,2,1,,90,x
c0,b0,ok,none,4,0,1.0,90,x
c1,b1,diverged,none,4,1,,90,x
"""
CURVES = """cell_id,step,split,metric,value
a0,10,validation,loss,3.0
a1,10,validation,loss,5.0
b0,10,validation,loss,2.5
b0,10,train,gradient_norm,9
"""
EFFECTS = f"""axis,level,effect,ci_low,ci_high
norm,layernorm,0.1,0.05,0.15
norm,"{EVIL.replace('"', '""')}",-0.1,,
"""
MANIFEST = {
    "grids": [{"values": {"norm": ["layernorm", "none"], "steps": [10], "num_layers": [2, 4]}, "seeds": [0, 1]}]
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in (("cells.csv", CELLS), ("curves.csv", CURVES), ("manifest.json", json.dumps(MANIFEST))):
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.fixture(scope="module")
def tab():
    runs = Runs(LOCAL, slots=1)
    made = built(SweepsTab, runs, after=[TrainTab])
    yield made
    runs.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# ------------------------------------------------------------------------------------------------ reading


def test_the_shipped_sweep_is_the_default_grid_with_seeds_and_small():
    results = demo_results()
    grid = parse_grid(base="default")
    assert results.axes == {axis: [*values] for axis, values in grid.values.items()}
    assert {len(one.losses) for one in results.configurations} == {3}
    assert DEMO_SWEEP.stat().st_size < 300_000
    for one in results.configurations:
        assert results.curve(one, "validation")["mean"].iloc[-1] == pytest.approx(one.losses.mean(), abs=1e-3)


def test_columns_are_found_by_name_and_others_do_not_matter(folder):
    results = own_results(str(folder))
    assert results.axes == {"norm": ["layernorm", "none"], "num_layers": [2, 4]}
    assert results.fixed == {"steps": 10}
    labels = [one.label for one in results.configurations]
    assert labels == ["LayerNorm · layers 2", "no norm · layers 2", "no norm · layers 4"]


def test_a_curve_is_the_mean_and_the_range_over_seeds(folder):
    results = own_results(str(folder))
    assert results.curve(results.configurations[0], "validation").loc[10].tolist() == [4.0, 3.0, 5.0]


def test_an_alias_has_the_curve_of_the_cell_that_ran(folder):
    results = own_results(str(folder))
    assert results.curve(results.configurations[2], "validation")["mean"].tolist() == [2.5]


def test_a_mean_never_hides_a_seed_that_diverged(folder):
    results = own_results(str(folder))
    cell = grid_value(results, [])["panels"][0]["rows"][1]["cells"][0]
    assert (cell["text"], cell["note"]) == ("1.000", "1 diverged")
    assert "1 diverged" in pictures(results, [1], "validation").table


def test_the_settings_of_a_cell_are_those_it_was_trained_with(folder):
    results = own_results(str(folder))
    assert results.settings(results.configurations[2]) == {"steps": 10, "norm": "none", "num_layers": 4, "seed": 0}
    assert results.settings(results.configurations[2]).keys() <= defaults().keys()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cells.csv", None, "there is no cells.csv"),
        ("curves.csv", None, "there is no curves.csv"),
        ("cells.csv", "a,b\n1,2\n", "has no column cell_id"),
        ("cells.csv", CELLS.partition("\n")[0], "no cell of this sweep is finished"),
        ("cells.csv", b"\xff\xfe\x00", "cannot be read"),
        ("manifest.json", "{", "manifest.json cannot be read"),
        ("manifest.json", "[" * 5000, "manifest.json cannot be read"),
        ("manifest.json", '{"grids": [1]}', "manifest.json cannot be read"),
        ("manifest.json", '{"grids": [{"values": [1]}]}', "manifest.json cannot be read"),
        ("manifest.json", '{"grids": [{"values": {"norm": 7}}]}', "manifest.json cannot be read"),
        ("effects.csv", "axis\n", "has no column level"),
        ("effects.csv", EFFECTS.replace("0.15", "abc"), "its column ci_high holds what is no number"),
        ("cells.csv", CELLS.replace("2.2", "low"), "its column val_loss holds what is no number"),
        ("cells.csv", CELLS.replace("2,1,2.2", "2,,2.2"), "a row has no cell_id, or no seed"),
        ("cells.csv", CELLS.replace("2,1,2.2", "2,1e999,2.2"), "cells.csv is damaged: .*seed"),
        ("curves.csv", CURVES.replace("a1,10", "a1,ten"), "its column step holds what is no number"),
    ],
)
def test_damaged_results_are_refused_in_words(folder, name, content, words):
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ResultsError, match=words):
        own_results(str(folder))


def test_a_damaged_manifest_is_refused_without_the_name_of_a_class(folder, monkeypatch):
    def refuse(path):
        if path.suffix == ".json":
            raise DamagedFileError(f"{path.name} was damaged")

    (folder / "manifest.json").write_text("{}")
    monkeypatch.setattr("tlab.ui.tabs.sweeps.results.refuse_damaged", refuse)
    with pytest.raises(ResultsError, match=r"^manifest.json cannot be read: manifest.json was damaged"):
        own_results(str(folder))


def test_a_folder_that_is_none_is_refused_in_words():
    with pytest.raises(ResultsError, match="There is no folder"):
        own_results("/nowhere/at/all")


def test_the_small_form_of_a_real_sweep_is_what_the_tab_opens(tmp_path, verse):
    (tmp_path / "verse.txt").write_text(tokenizer_text(verse), encoding="utf-8")
    words = ["steps=6", "validation_every=2", "batch_size=2", "context_length=8", "hidden_dim=8", "num_heads=2",
             "num_layers=1", f"corpus={tmp_path / 'verse.txt'}"]  # fmt: skip
    store = Store(tmp_path / "sweep")
    run_sweep(parse_grid("norm", words, seeds=2), store, Execution(jobs=1))
    small_form(store, tmp_path / "small.zip")
    whole, small = own_results(str(store.folder)), read_results(zipfile.Path(tmp_path / "small.zip"), "small")
    assert small.axes == whole.axes and list(small.axes) == ["norm"]
    assert small.fixed == {**whole.fixed, "corpus": "verse.txt"}  # without the folder: it is made to be sent on
    curves = [results.curve(results.configurations[0], "validation") for results in (whole, small)]
    np.testing.assert_allclose(*curves, atol=1e-4)
    assert small.effects is not None and list(small.effects.level) == small.axes["norm"]


def test_the_tab_opens_the_zips_that_export_writes_and_says_so_of_other_files(tmp_path, verse):
    (tmp_path / "verse.txt").write_text(tokenizer_text(verse), encoding="utf-8")
    words = ["steps=2", "batch_size=2", "context_length=8", "hidden_dim=8", "num_heads=2", "num_layers=1",
             f"corpus={tmp_path / 'verse.txt'}"]  # fmt: skip
    store = Store(tmp_path / "sweep")
    run_sweep(parse_grid("norm", words, seeds=2), store, Execution(jobs=1))
    for made in (export(store)[0], small_form(store)[0]):
        assert own_results(str(made)).axes == own_results(str(store.folder)).axes
    with pytest.raises(ResultsError, match=r"is a file. Give the folder of a sweep, or a zip"):
        own_results(str(tmp_path / "verse.txt"))


def tokenizer_text(corpus):
    return corpus.tokenizer.decode(np.concatenate([corpus.train, corpus.validation]))


# ------------------------------------------------------------------------------------------------ showing


def test_a_lost_seed_has_the_worst_colour_and_noise_no_strong_one(folder):
    results = read_results(folder, "mine")
    value = grid_value(results, [])
    cells = [cell for panel in value["panels"] for line in panel["rows"] for cell in line["cells"] if cell]
    lost = [cell for cell in cells if cell["note"]]
    assert lost and all(cell["text"] == "1.000" and cell["value"] == value["high"] for cell in lost)
    text = CELLS.replace("2.2", "2.0").replace("1.0,90", "2.001,90").replace("diverged,none,2,1,", "ok,none,2,1,2.001")
    (folder / "cells.csv").write_text(text)
    value = grid_value(read_results(folder, "mine"), [])
    assert value["high"] - value["low"] == pytest.approx(0.02)


def test_of_several_texts_colours_start_anew_with_each(folder):
    rows = ["cell_id,alias_of,status,corpus,norm,seed,val_loss"]
    for text, easy in (("a.txt", 1.0), ("b.txt", 2.0)):
        rows += [f"{text}-none,,ok,{text},none,0,{easy + 0.5}", f"{text}-rmsnorm,,ok,{text},rmsnorm,0,{easy}"]
    (folder / "cells.csv").write_text("\n".join(rows))
    value = grid_value(read_results(folder, "mine"), [])
    cells = [cell for panel in value["panels"] for line in panel["rows"] for cell in line["cells"] if cell]
    assert sorted((cell["text"], cell["value"]) for cell in cells) == [
        ("1.000", 0.0), ("1.500", 0.5), ("2.000", 0.0), ("2.500", 0.5)
    ]  # fmt: skip
    assert value["unit"].endswith("colours: above the lowest of the same text") and value["low"] == 0.0
    results = read_results(folder, "mine")
    best = [results.configurations[number].levels for number in best_numbers(results, 2)]
    assert best == [{"corpus": "b.txt", "norm": "rmsnorm"}, {"corpus": "a.txt", "norm": "rmsnorm"}]


def test_effects_say_how_many_runs_a_level_lost(folder):
    (folder / "effects.csv").write_text("axis,level,effect,ci_low,ci_high,n_lost\nnorm,none,0.001,-0.001,0.003,2\n")
    shown = pictures(read_results(folder, "mine"), [], "validation").effects
    assert "2 runs lost" in shown and "left:52.3%" in shown  # of a line that reaches the margin


@pytest.mark.parametrize(
    ("low", "high", "lost", "words"),
    [
        (-0.01, 0.21, 0, "3 seeds cannot tell any of these levels from the mean of its axis."),
        (
            0.09,
            0.11,
            0,
            "Told from the mean of its axis by 3 seeds, after Holm&#39;s correction: no norm higher; no other",
        ),
        (0.09, 0.11, 1, ""),
    ],
)
def test_which_levels_the_seeds_tell_apart_is_said_above_the_intervals(folder, low, high, lost, words):
    rows = f"norm,none,0.1,{low},{high},3,{lost}\nnorm,layernorm,-0.01,-0.2,0.18,3,0\n"
    (folder / "effects.csv").write_text("axis,level,effect,ci_low,ci_high,n_seeds,n_lost\n" + rows)
    shown = pictures(read_results(folder, "mine"), [], "validation").effects
    assert words in shown and ("tl-effects-words" in shown) == bool(words)


def test_the_shipped_sweep_says_what_it_was_trained_with_and_which_cells_are_not_what_they_seem():
    results = demo_results()
    shown = pictures(results, [], "validation")
    assert "corpus python-docs, hidden dim 64, layers 2, steps 300, learning rate 0.003" in shown.words
    assert max(map(len, re.findall(r"[^<>]+", shown.words))) < 400, "a paragraph each, so that they are read"
    assert "8 cells share the runs of another one" in shown.words
    assert "no norm · ReLU · Post-LN is no norm · ReLU · Pre-LN" in shown.words
    assert "Some seeds of LayerNorm · SwiGLU · Post-LN ended far from the other runs." in shown.words
    cells = [cell for panel in shown.grid["panels"] for line in panel["rows"] for cell in line["cells"]]
    beyond = [cell for cell in cells if cell["value"] > shown.grid["high"]]
    assert [(cell["text"], cell["note"]) for cell in beyond] == [("2.732", "2.24 to 3.25")]
    assert "3 seeds cannot tell any of these levels" in shown.effects


def test_a_curve_of_one_validation_is_a_dot(folder):
    lines = pictures(own_results(str(folder)), [2], "validation").chart["lines"]
    assert len(lines[0]["points"]) == 1 and lines[0]["dots"] == lines[0]["points"]


def test_one_axis_two_axes_and_three_all_make_a_map(folder):
    results = own_results(str(folder))
    assert len(grid_value(results, [])["panels"]) == 1
    assert len(grid_value(demo_results(), [])["panels"]) == 3
    (folder / "cells.csv").write_text("".join(f"{line}\n" for line in CELLS.splitlines()[:5:2]))
    one = grid_value(own_results(str(folder)), [])["panels"][0]
    assert [row["name"] for row in one["rows"]] == ["LayerNorm", "no norm"]
    assert one["columns"] == ["all"]


def test_effects_are_shown_with_their_intervals_where_the_sweep_wrote_them(folder):
    assert "effects.csv" in pictures(own_results(str(folder)), [], "train").effects
    (folder / "effects.csv").write_text(EFFECTS)
    shown = pictures(own_results(str(folder)), [], "train").effects
    assert "+0.100 (+0.050 to +0.150)" in shown
    assert "<img" not in shown


def test_markup_in_a_results_folder_stays_text(folder):
    (folder / "cells.csv").write_text(CELLS.replace("none", EVIL.replace('"', "'")))
    results = own_results(str(folder))
    for shown in pictures(results, [0, 1], "validation"):
        assert not isinstance(shown, str) or "<img" not in shown


def test_a_click_adds_a_curve_and_a_second_one_takes_it_away(tab):
    first = best_numbers(demo_results(), 2)
    event = gr.EventData(None, {"number": 5})
    chosen = tab.on_select("", first, "validation", event)[tab.chosen]
    assert chosen == [*first, 5]
    assert tab.on_select("", chosen, "validation", event)[tab.chosen] == first


@pytest.mark.parametrize("data", [{"number": 10**9}, {"number": -1}, {"number": "5"}, {}, None, [1]])
def test_a_click_on_no_cell_does_no_harm(tab, data):
    updates = tab.on_select("", [3], "validation", gr.EventData(None, data))
    assert updates == gr.skip() or updates[tab.chosen] == [3]


def test_a_public_page_reads_no_folder(tab, folder):
    public = copy.copy(tab)
    public.public = True
    assert public.results(str(folder)) is demo_results()
    assert tab.results(str(folder)) is not demo_results()


def test_a_cell_goes_into_the_controls_of_the_train_tab(tab):
    results = demo_results()
    number = next(one.number for one in results.configurations if one.label == "RMSNorm · ReLU · Post-LN")
    updates = tab.on_train("", [number])
    controls = tab.train_tab.controls
    values = {name: updates.get(control) for name, control in controls.components.items()}
    assert updates[tab.bar]["selected"] == "train"
    assert (values["norm"], values["activation"], values["residual"]) == ("rmsnorm", "relu", "post")
    assert values["switch"] == ":nothing"
    assert values["steps"] == 300


def test_training_a_cell_that_the_folder_does_not_have_is_refused_in_words(tab, folder):
    with pytest.raises(gr.Error, match="Choose a cell of the map first"):
        tab.on_train(str(folder), [99])


def test_training_a_cell_of_a_text_that_is_not_here_is_refused_in_words(tab, folder):
    manifest = {"grids": [{"values": {"corpus": ["my-secret"]}, "seeds": [0]}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(gr.Error, match="not among the texts here"):
        tab.on_train(str(folder), [0])


def test_the_settings_that_are_not_those_of_the_page_s_opening_are_named_and_no_others():
    results = demo_results()
    words, opening = unlike_opening(results), settings_of(preset_job(DEMO_PRESET))
    shared = {**defaults(), **results.fixed}
    for name in opening.keys() - results.axes.keys() - {"seed"}:
        said = f"{field_label(name)} {format_value(name, shared[name])} instead of"
        assert (said in words) == (shared[name] != opening[name]), name
    assert not any(f"{field_label(axis)} " in words for axis in results.axes)


def test_of_a_sweep_with_the_settings_of_the_page_s_opening_nothing_is_said():
    settings = settings_of(preset_job(DEMO_PRESET))
    assert unlike_opening(dataclasses.replace(demo_results(), fixed=settings)) == ""


def test_the_spread_of_an_axis_is_that_of_the_effects_in_the_table():
    results = demo_results()
    for spread in results.spreads:
        effects = results.effects[results.effects.axis == spread.axis].effect
        assert spread.difference.mean == pytest.approx(effects.max() - effects.min())


def test_the_first_sentence_is_what_the_sweep_found_and_the_rest_is_folded():
    results = demo_results()
    most = results.spreads[0]
    shown = pictures(results, [], "validation").words
    first, rest = shown.split("<details")
    assert f"{most.difference.mean:.2f} nats per token" in first and field_label(most.axis).lower() in first
    assert "Seeds alone may do that" in first, "its interval holds 0"
    assert "The Train tab opens with others: 8 layers" in first and "share the runs" in rest


def test_cells_that_an_effect_leaves_out_are_counted_where_it_stands():
    results = demo_results()
    told = {spread.axis: spread_words(results, spread) for spread in results.spreads}
    assert "of 24 of 36 cells" in told["residual"] and "cells" not in told["norm"]
    assert told["residual"] in pictures(results, [], "validation").effects


def test_cells_are_listed_in_the_order_of_the_legend():
    results = demo_results()
    chosen = results.configurations[5:2:-1]
    names = [line["name"] for line in curves_value(results, chosen, "validation")["lines"]]
    table = cells_table(chosen)
    assert [table.index(name) for name in names] == sorted(table.index(name) for name in names)


def test_the_map_has_every_seed_for_its_file_and_the_effects_have_a_file():
    results = demo_results()
    shown = pictures(results, [], "validation")
    cell = shown.grid["panels"][0]["rows"][0]["cells"][0]
    assert len(cell["seeds"]) == 3 and np.mean([loss for _, loss in cell["seeds"]]) == pytest.approx(cell["value"])
    assert 'download="effects.csv"' in shown.effects


def test_one_seed_says_nothing_about_chance(folder):
    kept = [row for row in CELLS.splitlines() if "1,2.2," not in row and "1,," not in row]
    (folder / "cells.csv").write_text("\n".join(kept))
    assert "One seed says nothing about chance." in finding_words(read_results(folder, "a sweep"))


@pytest.fixture
def begun(verse, small, tmp_path):
    """The folder of a sweep that begins with a run, and with random weights of its settings."""
    sizes = {"context_length": 8, "num_layers": 1, "hidden_dim": 8, "num_heads": 2}
    model = ModelConfig(vocab_size=verse.tokenizer.vocab_size, **sizes)
    Trainer(model, TrainConfig(), verse).checkpoint().save(tmp_path / "first")
    grid = Grid(
        {
            "corpus": small().values["corpus"], "start_from": (f"{tmp_path / 'first'}/",), "steps": (2,),
            "batch_size": (2,), "warmup_steps": (0,), "random_weights": (False, True), "learning_rate": (1e-3, 1e-2),
        }
    )  # fmt: skip
    run_sweep(grid, Store(tmp_path / "mine"), Execution())
    return tmp_path / "mine"


def test_a_sweep_that_begins_with_a_run_says_so_and_is_not_trained_from_random_weights(tab, begun):
    results = own_results(str(begun))
    assert {one.label for one in results.configurations} == {
        f"{weights} weights · learning rate {rate}" for weights in ("random", "trained") for rate in ("0.001", "0.01")
    }
    words = pictures(results, [], "validation").words
    assert "Every cell begins with the settings and the tokenizer of the model in" in words
    assert "hidden dim 8, layers 1" in words
    with pytest.raises(gr.Error, match=r"began with the weights of the model in .*first.* Train it with: "):
        tab.on_train(str(begun), [0])


@pytest.mark.parametrize("number", range(4))
def test_a_cell_that_begins_with_a_run_is_told_the_command_that_trains_it(tab, begun, tmp_path, number):
    one = own_results(str(begun)).configurations[number]
    with pytest.raises(gr.Error) as refused:
        tab.on_train(str(begun), [number])
    words, _, command = html.unescape(str(refused.value.message)).partition(" Train it with: ")
    assert ("began with random weights, and the settings" in words) == one.levels["random_weights"]
    assert main([*shlex.split(command)[3:], "--out", str(tmp_path / "again"), "--jobs", "1"]) == 0
    again = own_results(str(tmp_path / "again"))
    assert again.cells.cell_id.tolist() == one.cells.cell_id.tolist()
    assert again.cells.val_loss.tolist() == one.cells.val_loss.tolist()


def test_the_effects_name_levels_as_the_map_does(begun):
    levels = own_results(str(begun)).effects.level.tolist()
    assert levels == [False, True, 0.001, 0.01]
    shown = pictures(own_results(str(begun)), [], "validation").effects
    assert all(f">{words}<" in shown for words in ("trained weights", "random weights", "learning rate 0.01"))


@pytest.mark.parametrize("text", ["2", "2.0"])
def test_a_level_of_the_effects_is_that_of_the_cells_however_it_is_written(folder, text):
    rows = f"num_layers,{text},0.1,0.05,0.15\nnorm,none,0.1,0.05,0.15\nnorm,gone,0.1,,\n"
    (folder / "effects.csv").write_text(f"axis,level,effect,ci_low,ci_high\n{rows}")
    levels = read_results(folder, "mine").effects.level.tolist()
    assert levels == [2, "none", "gone"] and isinstance(levels[0], int)


def test_the_small_form_tells_which_model_its_cells_have(begun, tmp_path):
    small_form(Store(begun), tmp_path / "small.zip")
    whole, small = own_results(str(begun)), read_results(zipfile.Path(tmp_path / "small.zip"), "small")
    assert small.fixed == {**whole.fixed, "corpus": small.fixed["corpus"], "start_from": "first"}
    assert small.fixed["hidden_dim"] == 8
