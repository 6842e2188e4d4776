"""Exports: one zip that repeats a run to the last digit, opens again, and harms nobody who opens it."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from support import EVIL, GRADIO, SMALL, VERSE
from tlab import Checkpoint, ModelConfig, TrainConfig, Trainer
from tlab.inside.layers import LayerInsight
from tlab.text import corpus_from_text, load_corpus
from tlab.training.checkpoint import FILE_NAME
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.runs.messages import Insight, Sample, SeedStart
from tlab.ui.sharing import read_zip
from tlab.ui.sharing.read_zip import KNOWN, ReopenError, read_export
from tlab.ui.sharing.write_zip import ExportError, KeptRun, KeptSide, difference_words, write_export

pytestmark = GRADIO

ROOT = Path(__file__).parents[3]
TEXT = VERSE * 40


def trained(corpus, steps: int = 12, model=None, **training) -> Checkpoint:
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, **{**SMALL, **(model or {})})
    trainer = Trainer(config, TrainConfig(steps=steps, validation_every=5, **training), corpus)
    for _ in trainer:
        pass
    return trainer.checkpoint()


@pytest.fixture(scope="module")
def run() -> KeptRun:
    """Both sides of a run on a visitor's own text."""
    corpus = corpus_from_text(TEXT, "your own text")
    sides = [KeptSide(norm, trained(corpus, model={"norm": norm})) for norm in ("layernorm", "none")]
    return KeptRun("LayerNorm or none", tuple(sides), TEXT)


@pytest.fixture(scope="module")
def exported(run) -> bytes:
    return write_export(run)


def contents(exported: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.fixture
def opened(tmp_path):
    """Opens the bytes of an upload."""

    def open_bytes(content: bytes, limits=LOCAL) -> KeptRun:
        path = tmp_path / "upload.zip"
        path.write_bytes(content)
        return read_export(path, limits)

    return open_bytes


# ------------------------------------------------------------------------------------------------ out


def test_an_export_holds_what_it_promises(exported):
    files = contents(exported)
    sides = {f"{side}/{name}" for side in "AB" for name in
             ("config.json", "metrics.csv", "checkpoint.safetensors", "loss.png", "loss.svg")}  # fmt: skip
    assert (
        files.keys() == {"README.txt", "run.json", "repeat.py", "text.txt", "comparison.png", "comparison.svg"} | sides
    )
    assert files.keys() <= KNOWN
    assert files["A/loss.png"].startswith(b"\x89PNG")
    assert b"<svg" in files["comparison.svg"]
    assert json.loads(files["B/config.json"])["training"]["seed"] == 0
    assert json.loads(files["B/config.json"])["model"]["norm"] == "none"


def test_the_readme_says_in_words_what_it_is_and_in_what_the_sides_differ(exported):
    words = contents(exported)["README.txt"].decode()
    assert "The two differ in norm (layernorm and none).\n" in words
    assert "They read the same batches and start from the same first weights.\n" in words
    assert "12 of 12 steps" in words
    assert "python repeat.py" in words


@pytest.mark.parametrize("sides", [(0.0, 5.0), (5.0, 0.0)])
def test_a_field_that_only_one_side_sets_is_a_difference(run, sides):
    kept = [
        side._replace(checkpoint=dataclasses.replace(
            run.sides[0].checkpoint,
            model_config=dataclasses.replace(run.sides[0].checkpoint.model_config, score_cap=cap),
        ))
        for side, cap in zip(run.sides, sides, strict=True)
    ]  # fmt: skip
    words = difference_words(run._replace(sides=tuple(kept)))
    assert words[0] == f"The two differ in score_cap ({sides[0]} and {sides[1]})."


def test_metrics_hold_every_loss_to_the_last_digit(run, exported):
    rows = list(csv.DictReader(io.StringIO(contents(exported)["A/metrics.csv"].decode())))
    assert [float(row["loss"]) for row in rows] == [record.loss for record in run.sides[0].checkpoint.records]


def looked_into(run: KeptRun) -> KeptRun:
    """The run with what the app sees of a training: two looks inside each side, a sample, and right answers."""
    layers = [LayerInsight(0.5 + layer, 1.25, 1e-3, 0.0, 2.0) for layer in range(SMALL["num_layers"])]
    sides = [
        side._replace(
            insights=[Insight(n, 1, layers), Insight(n, 12, layers[::-1])],
            sample=Sample(n, 12, "né\n↵"),
            accuracies=[(6, 0.25), (12, 1.0)],
        )
        for n, side in enumerate(run.sides)
    ]
    return run._replace(sides=tuple(sides))


def test_what_was_seen_inside_the_sample_and_the_right_answers_come_back(run, opened):
    kept = looked_into(run)
    again = opened(write_export(kept))
    for side, before in zip(again.sides, kept.sides, strict=True):
        assert list(side.insights) == list(before.insights) and side.sample == before.sample
        assert list(side.accuracies) == before.accuracies


def test_the_first_steps_of_other_seeds_come_back(run, opened):
    layers = [LayerInsight(0.5 + layer, 1.25, 0.0, 0.0, 2.0) for layer in range(SMALL["num_layers"])]
    kept = looked_into(run)
    seed = kept.sides[0].checkpoint.train_config.seed
    starts = [[SeedStart(n, seed + more, layers) for more in (1, 2)] for n in range(2)]
    kept = kept._replace(sides=tuple(side._replace(starts=own) for side, own in zip(kept.sides, starts, strict=True)))
    assert [side.starts for side in opened(write_export(kept)).sides] == starts


ROWS = [[0.0] * 5] * SMALL["num_layers"]


@pytest.mark.parametrize(
    "starts", [[[5, [*ROWS, *ROWS]]], [[5, ROWS], [5, ROWS]], [[5, [[math.nan] * 5] * len(ROWS)]], [["x", ROWS]], 7]
)
def test_first_steps_that_cannot_be_are_refused_in_words(run, opened, starts):
    files = contents(write_export(looked_into(run)))
    files["A/inside.json"] = json.dumps(json.loads(files["A/inside.json"]) | {"starts": starts}).encode()
    with pytest.raises(ReopenError):
        opened(zipped(files))


def test_an_export_without_a_look_inside_opens_as_before(run, opened):
    assert [(side.insights, side.sample) for side in opened(write_export(run)).sides] == [((), None)] * 2


@pytest.mark.parametrize(
    "damage",
    [
        {"insights": [[99, [[0.0] * 5]]]},
        {"insights": [[1, [[0.0] * 5] * 3]]},
        {"insights": [[1, [[0.0] * 4]]]},
        {"insights": [[1, [[math.nan] * 5]]]},
        {"insights": [[2, [[0.0] * 5]], [1, [[0.0] * 5]]]},
        {"insights": "none"},
        {"sample": {"step": 5, "text": 7}},
        {"sample": {"step": 5, "text": "x" * 100_000}},
        {"sample": {"step": 999, "text": "x"}},
        {"answers": [[6, 1.5]]},
        {"answers": [[6, math.nan]]},
        {"answers": [[99, 0.5]]},
        {"answers": [[6, 0.5], [5, 0.5]]},
        {"answers": 7},
    ],
)
def test_a_look_inside_that_cannot_be_is_refused_in_words(run, opened, damage):
    files = contents(write_export(looked_into(run)))
    files["A/inside.json"] = json.dumps(json.loads(files["A/inside.json"]) | damage).encode()
    with pytest.raises(ReopenError):
        opened(zipped(files))


def same_content(one: bytes, other: bytes) -> bool:
    """But for the SVGs, whose clipping paths have names of chance, and the weights' header, whose order is one."""
    first, second = contents(one), contents(other)
    return first.keys() == second.keys() and all(
        data == second[name] for name, data in first.items() if not name.endswith((".svg", FILE_NAME))
    )


def test_the_same_run_makes_the_same_files(run, exported):
    assert same_content(write_export(run), exported)


@pytest.mark.parametrize("own", [True, False], ids=["own text", "corpus of the lab"])
def test_the_script_repeats_the_run_to_the_last_digit_in_a_fresh_process(run, exported, own, tmp_path):
    if not own:
        corpus = load_corpus("repeat", "byte")
        run = KeptRun("x", (KeptSide("x", trained(corpus, model={"position": "rope"}, seed=3)),), None)
        exported = write_export(run)
    zipfile.ZipFile(io.BytesIO(exported)).extractall(tmp_path)
    program = [sys.executable, "-W", "error", "repeat.py"]
    result = subprocess.run(
        program, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for letter, side in zip("AB", run.sides, strict=False):
        assert f"loss {side.checkpoint.records[-1].loss!r}" in result.stdout
        assert f"{letter} ({side.label}): 12 of 12 losses are equal to the last digit" in result.stdout


def test_the_script_finds_a_single_wrong_digit(exported, tmp_path):
    zipfile.ZipFile(io.BytesIO(exported)).extractall(tmp_path)
    lines = (tmp_path / "B" / "metrics.csv").read_text().splitlines()
    step, loss, rest = lines[7].split(",", 2)
    lines[7] = f"{step},{math.nextafter(float(loss), 9)!r},{rest}"
    (tmp_path / "B" / "metrics.csv").write_text("\n".join(lines))
    result = subprocess.run([sys.executable, "repeat.py"], capture_output=True, text=True, cwd=tmp_path,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert result.returncode == 1
    assert "B (none): 6 of 12 losses" in result.stdout


def test_a_run_that_was_killed_in_the_middle_of_a_step_is_refused_in_words(run):
    cut = run.sides[0].checkpoint.__class__(**{**vars(run.sides[0].checkpoint), "records": []})
    with pytest.raises(ExportError, match="stopped in the middle of a step"):
        write_export(KeptRun("x", (KeptSide("a", cut),), None))


def test_a_run_that_diverged_is_exported_with_its_place_and_opened_again(opened):
    corpus = corpus_from_text(TEXT, "your own text")
    checkpoint = trained(corpus, optimizer="sgd", learning_rate=1e6, gradient_clip=0.0, warmup_steps=0)
    assert checkpoint.divergence
    again = opened(write_export(KeptRun("wild", (KeptSide("wild", checkpoint),), TEXT)))
    assert again.sides[0].checkpoint.divergence == checkpoint.divergence


def test_weights_that_are_no_numbers_are_left_out_and_said_so(run, opened):
    checkpoint = run.sides[0].checkpoint
    bad = {name: np.full_like(array, np.nan) for name, array in checkpoint.weights.items()}
    broken = checkpoint.__class__(**{**vars(checkpoint), "weights": bad})
    exported = write_export(KeptRun("x", (KeptSide("x", broken),), None))
    assert f"A/{FILE_NAME}" not in contents(exported)
    assert "are left out" in contents(exported)["README.txt"].decode()
    with pytest.raises(ReopenError, match="has no weights"):
        opened(exported)


# ------------------------------------------------------------------------------------------------ and in again


def test_an_export_opens_again_as_it_was(run, exported, opened):
    again = opened(exported)
    assert (again.name, again.text) == (run.name, run.text)
    assert [side.label for side in again.sides] == ["layernorm", "none"]
    for side, before in zip(again.sides, run.sides, strict=True):
        assert side.checkpoint.records == before.checkpoint.records
        assert side.checkpoint.model_config == before.checkpoint.model_config
        for name, array in before.checkpoint.weights.items():
            assert np.array_equal(side.checkpoint.weights[name], array)


def test_an_opened_run_exports_the_same_files_again(exported, opened):
    assert same_content(write_export(opened(exported)), exported)


def test_names_from_an_export_are_one_short_line(exported, opened):
    files = contents(exported)
    about = json.loads(files["run.json"])
    about["name"] = f"  {EVIL}\n" * 9
    again = opened(zipped({**files, "run.json": json.dumps(about).encode()}))
    assert len(again.name) <= 60
    assert "\n" not in again.name


def test_the_script_is_among_those_that_an_export_may_have():
    script = Path(read_zip.__file__).with_name("repeat.py")
    assert hashlib.sha256(script.read_bytes()).hexdigest() in read_zip.REPEAT_SHA256


def test_a_script_that_the_lab_did_not_write_is_refused_and_without_it_the_run_opens(run, exported, opened):
    files = contents(exported)
    with pytest.raises(ReopenError, match="is none of the lab's: do not run it"):
        opened(zipped({**files, "repeat.py": files["repeat.py"] + b"import os"}))
    del files["repeat.py"]
    assert opened(zipped(files)).name == run.name


@pytest.mark.parametrize("half", ["\ud800", "x\udfff"])
def test_half_a_character_in_a_name_is_refused_in_words(exported, opened, half):
    files = contents(exported)
    about = json.loads(files["run.json"])
    about["sides"][0]["label"] = half
    with pytest.raises(ReopenError, match="half of a character"):
        opened(zipped({**files, "run.json": json.dumps(about).encode()}))


def with_weights(files: dict, change) -> dict:
    """The files with other arrays or another header in A's checkpoint, and a checksum that fits them."""
    from safetensors import safe_open

    from tlab.training.checkpoint import fingerprint

    path = Path(files.pop("_tmp")) / "a.safetensors"
    path.write_bytes(files[f"A/{FILE_NAME}"])
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["tlab"])
    change(header, tensors)
    text = json.dumps(header)
    metadata = {"tlab": text, "sha256": fingerprint(text, tensors)}
    return {**files, f"A/{FILE_NAME}": save(tensors, metadata=metadata)}


def set_model(**fields):
    return lambda header, tensors: header["model_config"].update(fields)


def set_weight(make):
    def change(header, tensors):
        name = "head.weight" if "head.weight" in tensors else next(n for n in tensors if n.endswith("weight"))
        tensors[name] = make(tensors[name])

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_weight(lambda w: np.full_like(w, np.nan)), "NaN or infinity"),
        (set_weight(lambda w: np.ascontiguousarray(w[:-1])), "not this model's"),
        (set_weight(lambda w: w.astype(np.float16)), "one kind of float"),
        (set_weight(lambda w: w.astype(np.int32)), "one kind of float"),
        (set_model(hidden_dim=100_000), "more weights than the file holds"),
        (set_model(num_layers=10_000), "more weights than the file holds"),
        (set_model(context_length=10**6), "more memory than"),
        (set_model(mlp_ratio=1e308), "damaged|more weights"),
        (set_model(norm="__import__('os').system('true')"), "unknown norm"),
        (set_model(vocab_size=3), "its tokenizer has"),
        (lambda header, tensors: header["train_config"].update(steps=10**9), "more steps than any run"),
        (lambda header, tensors: header.update(step=3), "its step is 3"),
        (lambda header, tensors: tensors.update(extra=np.zeros(3, np.float32)), "extra"),
        (lambda header, tensors: tensors["records"].__setitem__((5, 0), 99.0), "one record for each"),
        (lambda header, tensors: tensors["records"].__setitem__((5, 0), np.nan), "cannot be used"),
    ],
    ids=[
        "NaN",
        "shape",
        "half",
        "whole",
        "wide",
        "deep",
        "long",
        "ratio",
        "key",
        "vocabulary",
        "steps",
        "step",
        "extra",
        "records",
        "no step",
    ],
)
def test_weights_that_do_not_fit_are_refused_in_words_before_a_model_is_made(exported, opened, tmp_path, change, words):
    files = with_weights({**contents(exported), "_tmp": tmp_path}, change)
    with pytest.raises(ReopenError, match=words):
        opened(zipped(files))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/tlab-was-hacked",)


def lying_size(exported: bytes) -> bytes:
    """The sizes in the zip's list are smaller than what unpacks."""
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        size = archive.getinfo("run.json").file_size
    return exported.replace(struct.pack("<L", size), struct.pack("<L", 10))


def flipped(exported: bytes) -> bytes:
    """One damaged byte among the packed weights."""
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        place = archive.getinfo(f"A/{FILE_NAME}").header_offset + 2000
    return exported[:place] + bytes([exported[place] ^ 255]) + exported[place + 1 :]


HOSTILE = {
    "empty": lambda e: b"",
    "text": lambda e: b"hello",
    "pickle": lambda e: pickle.dumps(Bomb()),
    "pickle as weights": lambda e: zipped({**contents(e), f"A/{FILE_NAME}": pickle.dumps(Bomb())}),
    "npz": lambda e: zipped({"A/checkpoint.npz": b"x"}),
    "cut": lambda e: e[: len(e) // 2],
    "bit flipped": flipped,
    "lying size": lying_size,
    "traversal": lambda e: zipped({**contents(e), "../../etc/cron.d/x": b"x"}),
    "absolute": lambda e: zipped({**contents(e), "/etc/passwd": b"x"}),
    "backslash": lambda e: zipped({**contents(e), "A\\..\\..\\x": b"x"}),
    "nothing in it": lambda e: zipped({}),
    "no run": lambda e: zipped({k: v for k, v in contents(e).items() if k != "run.json"}),
    "bomb": lambda e: zipped({**contents(e), "text.txt": b"a" * 60_000_000}),
    "large bomb": lambda e: zipped({**contents(e), "A/loss.png": bytes(140_000_000)}),
    "deep json": lambda e: zipped({**contents(e), "run.json": b"[" * 3_000_000}),
    "json list": lambda e: zipped({**contents(e), "run.json": b"[]"}),
    "long number": lambda e: zipped({**contents(e), "run.json": b'{"format": ' + b"9" * 10_000 + b"}"}),
    "other format": lambda e: zipped({**contents(e), "run.json": b'{"format": "tlab run 99"}'}),
    "folder": lambda e: zipped({**contents(e), "run.json": contents(e)["run.json"].replace(b'"B"', b'"../B"')}),
    "name": lambda e: zipped(
        {**contents(e), "run.json": contents(e)["run.json"].replace(b'"LayerNorm or none"', b"[]")}
    ),
    "another text": lambda e: zipped({**contents(e), "text.txt": b"another text than that"}),
    "huge header": lambda e: zipped({**contents(e), f"A/{FILE_NAME}": struct.pack("<Q", 2**62) + b"{}"}),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_or_hostile_upload_is_refused_in_plain_words(exported, opened, make):
    with pytest.raises(ReopenError) as refusal:
        opened(make(exported))
    assert 20 < len(str(refusal.value)) < 500
    assert "Traceback" not in str(refusal.value)
    assert not Path("/tmp/tlab-was-hacked").exists()


def test_nothing_is_unpacked_of_a_zip_that_is_refused_by_its_list(opened, monkeypatch):
    bomb = zipped({"run.json": b"{}", "text.txt": b"a" * 60_000_000})
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ReopenError, match="would unpack to"):
        opened(bomb)


def test_two_files_of_one_name_are_refused(exported, opened):
    content = io.BytesIO(exported)
    with warnings.catch_warnings(), zipfile.ZipFile(content, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("run.json", b"{}")
    with pytest.raises(ReopenError, match="two files of the same name"):
        opened(content.getvalue())


def test_a_file_that_is_too_large_is_not_even_read(exported, opened, monkeypatch):
    monkeypatch.setattr(read_zip, "MAX_PACKED", 1000)
    with pytest.raises(ReopenError, match="the most that can be opened"):
        opened(exported)


def test_a_text_beyond_the_public_limit_is_refused(opened):
    text = VERSE * 5000
    corpus = corpus_from_text(text, "long")
    exported = write_export(KeptRun("x", (KeptSide("x", trained(corpus, steps=1)),), text))
    with pytest.raises(ReopenError, match="300,000 are allowed"):
        opened(exported, PUBLIC)
    assert opened(exported).text == text


def test_an_export_without_the_text_opens_too(run, opened):
    assert opened(write_export(run._replace(text=None))).text is None
