"""Models that are opened: where from, on which page, how many at once, and what is refused."""

import math
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from opening import llama_folder
from tlab import Checkpoint
from tlab.inside import PROBES
from tlab.pretrained.fields import PretrainedError
from tlab.text import DEFAULT_CORPUS
from tlab.ui import opened_models
from tlab.ui.demo.shipped_run import EXCERPT, demo_checkpoint
from tlab.ui.inspection.selection import CAPITALS, find_model
from tlab.ui.inspection.tasks import InspectionRequest, probe_result
from tlab.ui.opened_models import MAX_OPENED, OPENED_PREFIX, OpenedModels, SharedCheckpoint, listed_here, read_model
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.runs.manager import Runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama_folder(tmp_path_factory.mktemp("models") / "little-llama")


def test_a_folder_is_opened_and_found_by_its_id(folder):
    opened = OpenedModels(public=False)
    told = []
    model = opened.open(f"  {folder} ", told.append)
    assert (model.id, model.name) == (f"{OPENED_PREFIX}little-llama", "little-llama")
    assert opened.get(model.id) is model and opened.get("shipped: Default") is opened.get(None) is None
    assert "weights in 2 layers" in told[0] and "MiB" in told[0]


def test_what_is_opened_computes_what_the_import_does(folder):
    ids = np.arange(12)[None]
    shared, _ = read_model(str(folder))
    expected = Checkpoint.from_pretrained(folder).model().forward(ids)[0]
    np.testing.assert_array_equal(shared.model().forward(ids)[0], expected)


def test_live_models_of_an_opened_one_share_its_weights_and_cannot_change_them(folder):
    shared, _ = read_model(str(folder))
    one, other = shared.model(), shared.model()
    assert one is not other and np.shares_memory(one.parameters.data, other.parameters.data)
    assert all(np.shares_memory(array, one.parameters.data) for array in shared.weights.values())
    with pytest.raises(ValueError, match="read-only"):
        one.parameters["embedding.weight"].data[...] = 0


def test_a_run_folder_of_the_lab_is_opened(folder, tmp_path):
    Checkpoint.from_pretrained(folder).save(tmp_path / "my run")
    model = OpenedModels(public=False).open(str(tmp_path / "my run"))
    assert model.name == "my run" and model.checkpoint.model_config.num_layers == 2


def test_a_gguf_file_is_opened_under_its_name(folder, tmp_path):
    pytest.importorskip("gguf", reason="GGUF files need the package gguf: pip install '.[gguf]'")
    from pretrained.llama_cpp import convert_folder

    model = OpenedModels(public=False).open(str(convert_folder(tmp_path / "small.gguf", folder)))
    assert model.name == "small" and any("stored as F32" in remark for remark in model.remarks)


def test_a_public_page_opens_what_is_listed_and_nothing_else(folder, tmp_path):
    other = llama_folder(tmp_path / "secret")
    opened = OpenedModels(public=True, listed=[str(folder)])
    assert list(opened.places) == [f"{OPENED_PREFIX}little-llama"] and not opened.models
    with pytest.raises(PretrainedError, match="no other models than those of its list"):
        opened.open(str(other))
    assert opened.get(f"{OPENED_PREFIX}little-llama").checkpoint.model_config.num_layers == 2
    assert opened.get(str(folder)) is opened.get(f"{OPENED_PREFIX}{folder}") is opened.get(str(other)) is None


def test_ids_do_not_say_where_on_the_disk_a_model_is(folder, tmp_path):
    twin = tmp_path / "little-llama"
    opened = OpenedModels(public=True, listed=[str(folder), str(twin), "owner/name"])
    assert list(opened.places) == [
        f"{OPENED_PREFIX}little-llama", f"{OPENED_PREFIX}little-llama (2)", f"{OPENED_PREFIX}owner/name"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("", "Name a folder"),
        ("x" * 2000, "Name a folder"),
        ("/nowhere/at/all", "is not there"),
        ("README.md", "is a file"),
        ("pyproject.bin", "is not there"),
    ],
)
def test_what_is_no_model_is_refused_in_words_and_not_remembered(place, words):
    opened = OpenedModels(public=False)
    with pytest.raises(ValueError, match=words):
        opened.open(place)
    assert not opened.places and not opened.models


def test_a_pickle_is_never_opened(tmp_path):
    (tmp_path / "weights.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(PretrainedError, match="it was not opened"):
        OpenedModels(public=False).open(str(tmp_path / "weights.bin"))


def test_a_folder_without_weights_is_refused_by_what_it_lacks(tmp_path):
    (llama_folder(tmp_path / "half") / "model.safetensors").unlink()
    with pytest.raises(PretrainedError, match="neither"):
        OpenedModels(public=False).open(str(tmp_path / "half"))


def test_a_name_of_the_hub_without_a_network_is_refused_in_words(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(PretrainedError, match="tlab-tests/there-is-none"):
        OpenedModels(public=False).open("tlab-tests/there-is-none")


def test_the_one_that_was_not_used_for_longest_makes_room_and_is_read_again_when_asked_for(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(opened_models, "read_model", lambda place, *told: read.append(place) or read_model(place))
    opened = OpenedModels(public=False)
    ids = [opened.open(str(llama_folder(tmp_path / str(number)))).id for number in range(MAX_OPENED)]
    assert opened.get(ids[0]) is not None  # so that the other one is the older
    opened.open(str(llama_folder(tmp_path / "last")))
    assert ids[0] in opened.models and ids[1] not in opened.models and len(opened.models) == MAX_OPENED
    assert opened.get(ids[1]).name == "1" and len(read) == MAX_OPENED + 2


def test_the_environment_lists_models(monkeypatch):
    monkeypatch.setenv(opened_models.LIST_VARIABLE, os.pathsep.join(["one", "owner/two", ""]))
    assert listed_here() == ["one", "owner/two"]
    monkeypatch.delenv(opened_models.LIST_VARIABLE)
    assert listed_here() == []


@pytest.mark.parametrize("limits", [LOCAL, PUBLIC])
def test_a_server_that_is_told_of_no_models_lists_none(limits):
    assert not Runs(limits, slots=1).opened.places


@pytest.fixture
def runs(folder):
    runs = Runs(LOCAL, slots=1)
    runs.opened.open(str(folder))
    yield runs
    runs.close()


def test_words_about_an_opened_model_name_it_and_no_training(runs):
    of = find_model(runs, f"{OPENED_PREFIX}little-llama")
    assert of.words.startswith("The model is the opened model “little-llama”: 2 layers of 4 heads, ")
    assert "step" not in of.note(CAPITALS) and "step" not in of.file_name("map")
    assert of.excerpt == CAPITALS[: of.checkpoint.model_config.context_length]
    assert of.prompt == "The capital of France is"
    assert of.slider(0)["steps"] == []


def test_without_a_tokenizer_the_text_is_of_ids(tmp_path):
    runs = Runs(LOCAL, slots=1)
    of = find_model(runs, runs.opened.open(str(llama_folder(tmp_path / "bare", reads=None))).id)
    assert of.excerpt.split()[:3] == ["0", "1", "2"] and "ids" in " ".join(of.opened.remarks)


def test_a_trained_run_that_is_opened_keeps_its_step(folder, tmp_path):
    demo_checkpoint().save(tmp_path / "trained")
    runs = Runs(LOCAL, slots=1)
    of = find_model(runs, runs.opened.open(str(tmp_path / "trained")).id)
    assert f"that of the opened model “trained”, after {demo_checkpoint().step} steps (validation loss " in of.words
    assert isinstance(of.checkpoint, SharedCheckpoint)


def test_where_a_model_was_and_is_no_more_the_shipped_one_is_shown(tmp_path):
    runs = Runs(LOCAL, slots=1)
    runs.opened = OpenedModels(public=True, listed=[str(tmp_path / "gone")])
    shown = find_model(runs, f"{OPENED_PREFIX}gone")
    assert shown.opened is None and shown.words.startswith("This model cannot be read here at the moment. The model is")


def test_why_a_model_is_not_to_be_had_is_said_in_full_on_ones_own_machine(tmp_path):
    runs = Runs(LOCAL, slots=1)
    runs.opened = OpenedModels(public=False, listed=[str(tmp_path / "gone")])
    assert f"{tmp_path / 'gone'} is not there" in find_model(runs, f"{OPENED_PREFIX}gone").words
    assert "“other” is not open here any more." in find_model(runs, f"{OPENED_PREFIX}other").words


@pytest.fixture
def unreadable(tmp_path):
    folder = llama_folder(tmp_path / "half")
    (folder / "model.safetensors").rename(tmp_path / "kept.safetensors")
    return folder


def test_an_unreadable_model_is_not_read_again_until_its_files_change(unreadable, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(opened_models, "read_model", lambda place, *told: read.append(place) or read_model(place))
    opened = OpenedModels(public=True, listed=[str(unreadable)])
    (model_id,) = opened.places
    for _ in range(3):
        assert opened.get(model_id) is None
    with pytest.raises(PretrainedError, match="neither"):
        opened.use(model_id)
    assert len(read) == 1
    (tmp_path / "kept.safetensors").rename(unreadable / "model.safetensors")
    assert opened.why_not(model_id) == "" and opened.get(model_id).name == "half" and len(read) == 2


def test_a_failure_without_files_is_forgotten_after_a_while(monkeypatch):
    read = []
    monkeypatch.setattr(opened_models, "read_model", lambda place, *told: read.append(place) or read_model("/nowhere"))
    opened = OpenedModels(public=True, listed=["owner/name"])
    opened.get("opened: owner/name")
    opened.get("opened: owner/name")
    assert len(read) == 1
    monkeypatch.setattr(opened_models, "time", SimpleNamespace(monotonic=lambda: math.inf))
    opened.get("opened: owner/name")
    assert len(read) == 2


@pytest.mark.parametrize("name", PROBES)
def test_a_run_that_is_opened_has_the_tables_of_that_run(name):
    checkpoint = demo_checkpoint()
    of_run, of_opened = (
        repr(probe_result(InspectionRequest(model, EXCERPT, DEFAULT_CORPUS, None, "char"), name, {}))
        for model in (checkpoint, SharedCheckpoint.of(checkpoint))
    )
    assert of_opened == of_run, "as text, since NaN is not equal to itself"


@pytest.mark.parametrize("place", ["nowhere/at/all", "nowhere.gguf", "nowhere/model.gguf", "README.md"])
def test_who_names_no_model_is_told_all_that_may_be_named(place):
    with pytest.raises(PretrainedError, match=r"config\.json.*\.gguf.*hub"):
        OpenedModels(public=False).open(place)
