"""What the golden files hold. Every edition of the lab can be asked alike: only what is public is imported here."""

import csv
import dataclasses
import hashlib
import io
import os
import platform
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from sweeps.__main__ import main as sweep
from tlab import ComputeConfig, ModelConfig, TrainConfig, Trainer, generate_samples
from tlab.checks import run_checks
from tlab.inside import PROBES, ProbeError, probe
from tlab.text import corpus_from_text

FOLDER = Path(__file__).parent
TEXT = (FOLDER / "text.txt").read_text(encoding="utf-8")
READ = "The gate was locked, and the key"  # the probes look at as much of its beginning as the context holds
SIZES = {"context_length": 16, "hidden_dim": 24, "num_layers": 2, "num_heads": 3, "mlp_ratio": 2.5}
TRAINING = {"steps": 6, "batch_size": 4, "warmup_steps": 2, "validation_every": 3}
DTYPES = ("float64", "float32")
NO_NUMBER = ("equation", "line", "what")
"""Columns of probes that say in words, or by a line of the source, what a number is."""

SAMPLING = {
    "greedy": {"temperature": 0},
    "plain": {"temperature": 1.0, "seed": 1},
    "cold": {"temperature": 0.7, "seed": 2},
    "few": {"top_k": 5, "seed": 3},
    "nucleus": {"top_p": 0.8, "seed": 4},
    "penalty": {"temperature": 0.9, "top_k": 12, "top_p": 0.95, "repetition_penalty": 1.3, "seed": 5},
}
QUICK = [
    "quick", "--set", "context_length=8", "--set", "hidden_dim=8", "--set", "num_heads=2", "--set", "num_layers=1",
    "--set", "batch_size=4", "--set", "warmup_steps=2", "--set", "validation_every=3", "--steps", "6",
    "--corpus", "text.txt", "--jobs", "1",
]  # fmt: skip
"""The preset, with cells as small as they can be."""

THIS_TIME = ("tokens_per_second", "wall_seconds", "cpu_seconds", "peak_memory_mib", "attempts", "host", "source")
"""Columns of cells.csv that tell of the machine and the code, and not of the model."""


def machine() -> dict:
    """What the last bits of a number depend on besides the code. Two machines of which it is equal are of one kind."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:  # before NumPy 2
        from numpy.core._multiarray_umath import __cpu_features__ as features
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    blas = [library for library in blas if "numpy" in library["filepath"]] or blas  # SciPy may have one of its own
    return {
        "numpy": np.__version__,
        "blas": sorted({f"{one['internal_api']} {one['version']} {one.get('architecture')}" for one in blas}),
        "simd": sorted(name for name, found in features.items() if found),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),  # its exp and log
    }


# ------------------------------------------------------------------------------------------------ training


@cache
def corpus(tokenizer: str):
    """The text of all golden files."""
    return corpus_from_text(TEXT, "text", tokenizer=tokenizer)


def trained(settings: dict, dtype: str) -> Trainer:
    """A tiny model after a few steps; `settings` are fields of the configs, the tokenizer, and ways to compute."""

    def fields_of(config: type) -> dict:
        return {f.name: settings[f.name] for f in dataclasses.fields(config) if f.name in settings}

    read = corpus(settings["tokenizer"])
    model = ModelConfig(**{"vocab_size": read.tokenizer.vocab_size, **SIZES, **fields_of(ModelConfig)})
    training = TrainConfig(**{**TRAINING, **fields_of(TrainConfig)})
    compute = ComputeConfig(**{"threads": 1, **fields_of(ComputeConfig)})
    trainer = Trainer(model, training, read, compute=compute, dtype=dtype)
    for _ in trainer:
        pass
    return trainer


def fingerprint(arrays: dict) -> str:
    """Of arrays and their names; their order does not count."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def training(settings: dict, dtype: str) -> dict:
    """What a training says, and the weights that it ends with."""
    trainer = trained(settings, dtype)
    checkpoint = trainer.checkpoint()
    return {
        "loss": [record.loss for record in trainer.records],
        "validation_loss": [record.validation_loss for record in trainer.records],
        "gradient_norm": [record.gradient_norm for record in trainer.records],
        "learning_rate": [record.learning_rate for record in trainer.records],
        "weights": {name: float(np.abs(w.astype(float)).sum()) for name, w in sorted(checkpoint.weights.items())},
        "sha256": fingerprint(checkpoint.weights),
        "optimizer_sha256": fingerprint(checkpoint.optimizer_state),
    }


# ------------------------------------------------------------------------------------------------ the others


def generation(settings: dict, dtype: str) -> dict:
    """Two texts at once for every way to choose a token; longer than the context, so that the window slides."""
    trainer = trained(settings, dtype)
    found = {}
    for name, sampling in SAMPLING.items():
        rows = list(
            generate_samples(
                trainer.model, trainer.corpus.tokenizer, "The la", samples=2, max_new_tokens=24, **sampling
            )
        )
        found[name] = {
            "ids": [[int(token.id) for token in texts] for texts in zip(*rows, strict=True)],
            "probabilities": [[token.probability for token in texts] for texts in zip(*rows, strict=True)],
        }
    return found


def probes(settings: dict, dtype: str, names: list[str] | None = None) -> dict:
    """The table of every probe; None where it has no meaning for the model."""
    trainer = trained(settings, dtype)
    tokenizer = trainer.corpus.tokenizer
    text = tokenizer.decode(tokenizer.encode(READ)[: trainer.config.context_length])
    found = {}
    for name in names or PROBES:
        try:
            given = {"other": first_token_changed(text, tokenizer)} if name == "patch" else {}
            rows = probe(name, trainer.checkpoint(), text, trainer.corpus, **given)
        except ProbeError:
            found[name] = None
            continue
        found[name] = {
            column: [plain(getattr(row, column)) for row in rows]
            for column in rows[0]._fields
            if column not in NO_NUMBER
        }
    return found


def first_token_changed(text: str, tokenizer) -> str:
    """The other text of the first edition's patch: its first token is the next one of the vocabulary."""
    ids = tokenizer.encode(text)
    ids[0] = (ids[0] + 1) % tokenizer.vocab_size
    return tokenizer.decode(ids)


def plain(value):
    """As JSON has it."""
    return value.item() if isinstance(value, np.generic) else value


def checks(settings: dict) -> list:
    """[group, error, limit] of each check, in order."""
    fields = {f.name: settings[f.name] for f in dataclasses.fields(ModelConfig) if f.name in settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            [one.group, float(one.error), one.limit]
            for one in run_checks(ModelConfig(**{"vocab_size": 19, **SIZES, **fields}))
        ]


def swept(folder: Path) -> None:
    """Run the quick grid into `folder`, beside which text.txt lies."""
    here = os.getcwd()
    os.chdir(folder.parent)
    try:
        assert sweep(["run", *QUICK, "--out", folder.name]) == 0
    finally:
        os.chdir(here)


def cells(table: str) -> dict:
    """Of the text of a cells.csv: cell_id -> its columns, but for those that tell of the hour."""
    rows = list(csv.DictReader(table.splitlines()))
    return {row["cell_id"]: {k: v for k, v in row.items() if k not in THIS_TIME} for row in rows}


def in_columns_of(old, now):
    """A CSV in the columns that the old one has: later ones may be new."""
    header, rows = next(csv.reader(io.StringIO(old))), list(csv.reader(io.StringIO(now)))
    places = [rows[0].index(name) for name in header]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([row[place] for place in places] for row in rows)
    return written.getvalue()
