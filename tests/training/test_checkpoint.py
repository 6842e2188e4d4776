"""Checkpoints: whole or not there, and nothing foreign gets in."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from support import tiny
from tlab import Checkpoint, CheckpointError, TrainConfig, Trainer
from tlab.files import write_atomically
from tlab.pretrained.reading import Pretrained
from tlab.text.units import BytesPerToken
from tlab.training.checkpoint import (
    FILE_NAME,
    check_step,
    fingerprint,
    records_as_csv,
    records_as_table,
    records_from_table,
)
from tlab.training.records import Divergence, StepRecord


@pytest.fixture
def trainer(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    trainer = Trainer(config, TrainConfig(steps=3, batch_size=2, validation_every=2), verse)
    list(trainer)
    return trainer


@pytest.fixture
def saved(trainer, tmp_path):
    return trainer.checkpoint().save(tmp_path / "run")


def test_what_is_loaded_is_what_was_saved(trainer, saved):
    checkpoint, loaded = trainer.checkpoint(), Checkpoint.load(saved.parent)
    for field in ("model_config", "train_config", "corpus", "step", "records", "tokenizer", "divergence"):
        assert getattr(loaded, field) == getattr(checkpoint, field), field
    for field in ("weights", "optimizer_state"):
        assert getattr(loaded, field).keys() == getattr(checkpoint, field).keys()
        for name, array in getattr(checkpoint, field).items():
            assert (getattr(loaded, field)[name] == array).all()
            assert getattr(loaded, field)[name].dtype == array.dtype


def test_the_weights_of_a_file_are_one_piece_of_memory_in_which_the_optimizers_state_is_not(saved):
    loaded = Checkpoint.load(saved)
    places = sorted((array.ctypes.data, array.nbytes) for array in loaded.weights.values())
    ends = [begin + size for begin, size in places]
    assert ends[:-1] == [begin for begin, _ in places[1:]]
    assert not any(places[0][0] <= state.ctypes.data < ends[-1] for state in loaded.optimizer_state.values())


def test_the_loaded_model_computes_what_the_live_one_does(trainer, saved):
    ids = trainer.corpus.validation[None, :8]
    assert (Checkpoint.load(saved).model().forward(ids)[0] == trainer.model.forward(ids)[0]).all()


def test_a_divergence_comes_back_with_the_last_record():
    first, last = (StepRecord(step, 2.0, None, 1e-3, 1.0, 16 * step, 0.5 * step) for step in (1, 2))
    divergence = Divergence(2, "blocks.1.mlp.up", "the loss is nan")
    table = records_as_table([first, last._replace(divergence=divergence)])
    assert records_from_table(table, divergence) == [first, last._replace(divergence=divergence)]


def test_a_divergence_without_any_record_is_of_no_step():
    assert records_from_table(records_as_table([]), Divergence(1, "loss", "the loss is nan")) == []


def test_the_fingerprint_is_of_the_header_and_of_each_arrays_name_type_shape_and_content():
    zeros = np.zeros((2, 3), np.float32)
    changed = [
        fingerprint("other header", {"a": zeros}),
        fingerprint("header", {"b": zeros}),
        fingerprint("header", {"a": zeros.view(np.int32)}),
        fingerprint("header", {"a": zeros.reshape(3, 2)}),
        fingerprint("header", {"a": zeros + 1}),
        fingerprint("header", {"a": zeros, "b": zeros}),
    ]
    assert len({fingerprint("header", {"a": zeros}), *changed}) == 1 + len(changed)
    assert fingerprint("header", {"a": zeros, "b": zeros}) == fingerprint("header", {"b": zeros, "a": zeros})


def test_the_record_tells_the_corpus_with_hash_size_and_vocabulary(saved, verse):
    corpus = Checkpoint.load(saved).corpus
    assert (corpus["name"], corpus["sha256"], corpus["size"]) == ("verse", verse.sha256, verse.size)
    assert corpus["tokenizer"] == verse.tokenizer.to_json()


def test_a_model_from_elsewhere_is_of_no_step_and_of_no_text_of_ours(trainer):
    ours = trainer.checkpoint()
    model = Pretrained(ours.model_config, ours.weights, ours.tokenizer, "qwen2", (), "a/b of the hub")
    imported = Checkpoint.of_pretrained(model, "b")
    assert (imported.step, imported.corpus["size"], imported.corpus["sha256"]) == (0, 0, "")
    assert imported.corpus["origin"] == "imported from a/b of the hub, of the architecture qwen2"
    assert imported.tokenizer == ours.tokenizer


def test_the_bytes_of_a_token_are_those_of_the_record_and_none_where_an_early_version_wrote_none(trainer):
    checkpoint = trainer.checkpoint()
    assert checkpoint.bytes_per_token == trainer.corpus.bytes_per_token
    early = {name: value for name, value in checkpoint.corpus.items() if name != "bytes_per_token"}
    assert dataclasses.replace(checkpoint, corpus=early).bytes_per_token is None


def test_weights_stand_in_the_file_under_their_public_names(trainer, saved):
    tensors = load_file(saved)
    for name, param in trainer.model.parameters.items():
        assert (tensors[name] == param.data).all()


def test_a_transposed_array_is_written_right(trainer, tmp_path):
    checkpoint = trainer.checkpoint()
    weights = {name: np.asfortranarray(array) for name, array in checkpoint.weights.items()}
    dataclasses.replace(checkpoint, weights=weights).save(tmp_path)
    for name, array in Checkpoint.load(tmp_path).weights.items():
        assert (array == checkpoint.weights[name]).all()


def test_nothing_but_the_checkpoint_is_left_in_the_folder(trainer, saved):
    trainer.checkpoint().save(saved.parent)
    assert [path.name for path in saved.parent.iterdir()] == [FILE_NAME]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(trainer, saved):
    """A process saves without end; it is killed while it does, several times over."""
    program = (
        "import sys; from tlab import Checkpoint\n"
        f"checkpoint = Checkpoint.load({str(saved)!r}); print('ready', flush=True)\n"
        f"while True: checkpoint.save({str(saved.parent)!r})"
    )
    for delay in (0.01, 0.017, 0.03):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.kill()
        process.communicate()
        assert Checkpoint.load(saved).step == 3


def test_a_checkpoint_without_optimizer_state_can_be_used_but_not_resumed(trainer, tmp_path):
    dataclasses.replace(trainer.checkpoint(), optimizer_state={}).save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    assert loaded.model().num_parameters == trainer.model.num_parameters
    with pytest.raises(CheckpointError, match="no optimizer state: it can be used, but not trained on"):
        Trainer.resume(loaded, trainer.corpus)


# --- what is refused ---


def edited(saved, change):
    """The same file with its header or tensors changed."""
    from safetensors import safe_open

    with safe_open(saved, framework="numpy") as file:
        about = json.loads(file.metadata()["tlab"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(about, tensors)
    header = json.dumps(about)
    save_file(tensors, saved, metadata={"tlab": header, "sha256": fingerprint(header, tensors)})
    return saved


FOREIGN = {
    "another format": (lambda about, tensors: about.update(format="tlab 0"), "this version reads 'tlab 1'"),
    "no step": (lambda about, tensors: about.pop("step"), "header has no 'step'"),
    "no records": (lambda about, tensors: tensors.pop("records"), "header has no 'records'"),
    "unknown switch": (
        lambda about, tensors: about["model_config"].update(norm="batchnorm"),
        "unknown norm 'batchnorm'",
    ),
    "unknown field": (lambda about, tensors: about["model_config"].update(depth=2), "no field 'depth'"),
    "another width": (lambda about, tensors: about["model_config"].update(hidden_dim=24), "not this model's"),
    "a missing tensor": (lambda about, tensors: tensors.pop("embedding.weight"), "embedding.weight given not"),
    "a foreign tensor": (lambda about, tensors: tensors.update(x=np.zeros(2, np.float32)), "x given"),
    "a NaN": (lambda about, tensors: tensors["embedding.weight"].fill(np.nan), "NaN"),
    "another optimizer": (lambda about, tensors: about["train_config"].update(optimizer="sgd"), "'sgd' needs"),
    "a NaN in the moments": (lambda about, tensors: tensors["optimizer.first_moment"].fill(np.nan), "NaN"),
    "another alphabet": (
        lambda about, tensors: about["corpus"]["tokenizer"].update(alphabet="abc"),
        "its tokenizer has 3",
    ),
    "no tokenizer": (lambda about, tensors: about["corpus"].pop("tokenizer"), "header has no 'tokenizer'"),
    "records of another shape": (lambda about, tensors: tensors.update(records=np.zeros((2, 3))), "needed are 7"),
    "no sha256 of the corpus": (lambda about, tensors: about["corpus"].pop("sha256"), "header has no 'sha256'"),
    "a size in words": (lambda about, tensors: about["corpus"].update(size="large"), "has the size 'large'"),
    "an unknown tokenizer": (
        lambda about, tensors: about["corpus"]["tokenizer"].update(tokenizer="bpe"),
        "cannot be used: unknown tokenizer 'bpe'",
    ),
    "tokens without bytes": (
        lambda about, tensors: about["corpus"]["bytes_per_token"].update(validation=0),
        "1.0 and 0 bytes on average",
    ),
    "a step before the first": (lambda about, tensors: about.update(step=-5), "its step is -5, but"),
    "a step past the records": (lambda about, tensors: about.update(step=2), "its step is 2, but"),
    "infinite steps in the records": (lambda about, tensors: tensors["records"].fill(np.inf), "cannot be used"),
    "more layers than arrays": (lambda about, tensors: about["model_config"].update(num_layers=10**4), "more than it"),
    "a model beyond all memory": (
        lambda about, tensors: about["model_config"].update(hidden_dim=999_999),
        "not this model's",
    ),
    "a divergence of two numbers": (lambda about, tensors: about.update(divergence=[1, 2]), "needed are a step"),
    "a divergence of three numbers": (lambda about, tensors: about.update(divergence=[1, 2, 3]), "needed are a step"),
    "records of one dimension": (lambda about, tensors: tensors.update(records=np.zeros(7)), "needed are 7"),
    "moments of another size": (
        lambda about, tensors: tensors.update({"optimizer.first_moment": np.zeros(3, np.float32)}),
        r"first_moment': \(3,\)",
    ),
    "arrays of two kinds of float": (
        lambda about, tensors: tensors.update({"embedding.weight": tensors["embedding.weight"].astype(np.float64)}),
        "needed is one kind of float",
    ),
    "half precision": (
        lambda about, tensors: tensors.update(
            {name: array.astype(np.float16) for name, array in tensors.items() if name != "records"}
        ),
        "its arrays are of float16",
    ),
    "a divergence in letters": (lambda about, tensors: about.update(divergence="abc"), "divergence"),
    "corpus no object": (lambda about, tensors: about.update(corpus="verse"), "cannot be used"),
    "step no number": (lambda about, tensors: about.update(step=None), "cannot be used"),
    "weights of integers": (
        lambda about, tensors: tensors.update({"embedding.weight": tensors["embedding.weight"].astype(np.int32)}),
        "float",
    ),
}


@pytest.mark.parametrize(("change", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_that_does_not_fit_itself_is_refused(change, message, saved):
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint.load(edited(saved, change))
    assert FILE_NAME in str(caught.value)


def record(step, divergence=None):
    return StepRecord(step, 2.0, None, 1e-3, 1.0, 16 * step, 0.5 * step, divergence)


@pytest.mark.parametrize(
    ("step", "records", "steps"),
    [(0, [], 3), (1, [record(1)], 3), (3, [record(2), record(3)], 3),
     (3, [record(3, Divergence(3, "loss", ""))], 3), (2, [record(3, Divergence(3, "loss", ""))], 3)],
)  # fmt: skip
def test_a_run_is_at_its_last_record_or_one_before_it_where_that_update_was_not_made(step, records, steps):
    check_step(step, records, steps)


@pytest.mark.parametrize(
    ("step", "records", "steps"),
    [(1, [], 3), (-1, [], 3), (2, [record(3)], 3), (4, [record(4)], 3), (1, [record(3, Divergence(3, "loss", ""))], 3),
     (4, [record(3, Divergence(3, "loss", ""))], 5), (1.0, [record(1)], 3), (None, [], 3)],
)  # fmt: skip
def test_a_step_at_which_the_records_cannot_end_is_refused(step, records, steps):
    with pytest.raises(CheckpointError, match="but its records end at"):
        check_step(step, records, steps)


def test_another_programs_safetensors_file_is_refused(tmp_path):
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / FILE_NAME)
    with pytest.raises(CheckpointError, match="not written by this program"):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize("content", ["model.gguf", "model.safetensors", "config.json"])
def test_a_pretrained_model_in_place_of_a_run_is_refused_with_the_command_that_makes_one_of_it(content, tmp_path):
    path = tmp_path / content
    path.write_bytes(b"GGUF" + bytes(60))
    if content == "model.safetensors":
        save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="`tlab import`"):
        Checkpoint.load(tmp_path if content == "config.json" else path)


def test_a_single_flipped_bit_anywhere_is_found(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            Checkpoint.load(saved)


@pytest.mark.parametrize("length", [0, 4, 8, 100, 2000, -1])
def test_a_file_cut_off_anywhere_is_refused(length, saved):
    content = saved.read_bytes()
    saved.write_bytes(content[:length])
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        Checkpoint.load(saved)


@pytest.mark.parametrize("content", [b"hello, world, I am a text", b"\x80\x04\x95pickle", b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        Checkpoint.load(tmp_path)


def test_a_folder_without_checkpoint_is_told_what_was_expected(tmp_path):
    with pytest.raises(CheckpointError, match=f"expected a run folder with a {FILE_NAME}"):
        Checkpoint.load(tmp_path)


def test_the_table_of_a_run_has_bits_per_byte_where_the_bytes_are_known():
    records = [StepRecord(1, 2.0, None, 0.1, 1.0, 8, 0.5), StepRecord(2, 1.5, 1.0, 0.1, 1.0, 16, 1.0)]
    known, unknown = (records_as_csv(records, each).splitlines() for each in (BytesPerToken(1.0, 2.0), None))
    assert [line.rpartition(",")[2] for line in known] == ["validation_bits_per_byte", "", repr(0.5 / math.log(2))]
    assert [line.rpartition(",")[0] for line in known] == unknown
