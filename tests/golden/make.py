"""Makes the golden files, with the first edition of the lab: what it is today must give the same numbers.

They were made at commit b09d42f, the last before files were moved and renamed:

    git worktree add ../first b09d42f
    PYTHONPATH=../first python tests/golden/make.py

Made again on a machine of another kind, the numbers are that machine's, and equal to the last bit there.
"""

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"

import dataclasses  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import tempfile  # noqa: E402
import zipfile  # noqa: E402
from pathlib import Path  # noqa: E402
from urllib.parse import parse_qsl  # noqa: E402

import measure  # noqa: E402
import numpy as np  # noqa: E402
from tlab.ui.export import KeptRun, KeptSide, write_export  # noqa: E402
from tlab.ui.links import defaults, query_of, read_query  # noqa: E402

import tlab.cli  # noqa: E402
from tlab import Checkpoint, Trainer  # noqa: E402
from tlab.inside import PROBES  # noqa: E402
from tlab.registry import REGISTRIES  # noqa: E402

SLOTS = ("position", "activation", "norm", "residual", "optimizer", "schedule", "init", "tokenizer")
DAY_ZERO = (1980, 1, 1, 0, 0, 0)  # golden files that are made again differ only where they differ

PROBED = [
    {"norm": "layernorm", "activation": "gelu", "residual": "pre", "position": "learned"},
    {"norm": "rmsnorm", "activation": "swiglu", "residual": "sandwich", "position": "rope", "tied": False},
    {"norm": "none", "activation": "relu", "residual": "post", "position": "alibi", "bias": False},
]
LINKS = [
    "corpus=python-docs",
    "norm=rmsnorm&steps=300&b.norm=none&hide=seed",
    "position=rope&activation=swiglu&residual=sandwich&bias=false&tied=false&init=xavier&scale_residual=true",
    "hidden_dim=96&num_heads=6&num_layers=3&context_length=32&mlp_ratio=2.5&embedding_scale=1.0&norm_epsilon=1e-06",
    "optimizer=sgd&momentum=0.5&learning_rate=0.30000000000000004&schedule=linear&warmup_steps=0&min_learning_rate=0",
    "optimizer=adam&beta1=0.8&beta2=0.999&epsilon=1e-9&weight_decay=0&gradient_clip=0.5&batch_size=8&max_loss=20",
    "data_seed=none&seed=4294967295&validation_every=0&tokenizer=byte&corpus=names",
    "corpus=repeat&b.optimizer=sgd&hide=seed,optimizer,start",
    "seed_hide=true&steps_hide=false&utm_source=x&__theme=dark",
    "nrm=none&norm=rms&steps=many&num_heads=7",
]


def pairwise(choices: dict[str, list]) -> list[dict]:
    """Few settings in which every pair of choices of two slots stands at least once: each takes the most new pairs."""
    names = list(choices)
    missing = {
        frozenset([(a, x), (b, y)])
        for a, b in itertools.combinations(names, 2)
        for x, y in itertools.product(choices[a], choices[b])
    }
    rng, rows = np.random.default_rng(0), []
    while missing:
        tried = [{name: values[rng.integers(len(values))] for name, values in choices.items()} for _ in range(2000)]
        best = max(tried, key=lambda row: sum(pair <= row.items() for pair in missing))
        covered = {pair for pair in missing if pair <= best.items()}
        if covered:
            rows.append(best)
            missing -= covered
    return rows


def numbers() -> dict:
    """numbers.json."""
    choices = {slot: list(REGISTRIES[slot]) for slot in SLOTS} | {"tied": [True, False], "bias": [True, False]}
    settings = pairwise(choices)
    for row, compute in zip(settings, [{"threads": 2}, {"micro_batches": 2}, {"recompute": True}], strict=False):
        row.update(compute)
    probed = [{"tokenizer": "char", "steps": 24, "warmup_steps": 4, **one} for one in PROBED]
    both = list(itertools.product(measure.DTYPES, settings))
    return {
        "made_at": "b09d42f",
        "machine": measure.machine(),
        "training": [{"settings": s, "dtype": d, "values": measure.training(s, d)} for d, s in both],
        "generation": [
            {"settings": s, "dtype": d, "values": measure.generation(s, d)}
            for d, s in itertools.product(measure.DTYPES, probed)
        ],
        "probes": [
            {"settings": s, "dtype": d, "values": measure.probes(s, d, list(PROBES))}
            for d, s in itertools.product(measure.DTYPES, probed)
        ],
        "checks": [{"settings": s, "values": measure.checks(s)} for s in settings[:6]],
    }


def run_folder(parent: Path) -> Path:
    """`tlab train`, with a Ctrl-C in its eighth step of twelve."""
    step = Trainer.train_step

    def step_with_ctrl_c(trainer):
        record = step(trainer)
        if record.step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return record

    Trainer.train_step = step_with_ctrl_c
    words = [
        "train", "--corpus", "text.txt", "--out", "run", "--context-length", "16", "--hidden-dim", "12",
        "--num-heads", "3", "--norm", "rmsnorm", "--position", "rope", "--steps", "12", "--batch-size", "4",
        "--warmup-steps", "2", "--validation-every", "4", "--sample-every", "0", "--snapshots", "4", "--threads", "1",
    ]  # fmt: skip
    assert tlab.cli.main(words) == 130
    Trainer.train_step = step
    for picture in parent.glob("run/loss.*"):
        picture.unlink()  # nothing reads them
    return parent / "run"


def kept_run(name: str, settings: list[dict], text: str | None) -> tuple[KeptRun, list[str]]:
    """A run as the app exports it, and the fingerprints of its weights."""
    sides = []
    for one in settings:
        one = {"tokenizer": "char", "hidden_dim": 12, "steps": 12, "validation_every": 4, **one}
        sides.append(KeptSide(one["norm"], measure.trained(one, "float32").checkpoint()))
    return KeptRun(name, tuple(sides), text), [measure.fingerprint(side.checkpoint.weights) for side in sides]


def pack(folder: Path, to: Path) -> None:
    """A folder as a zip."""
    with zipfile.ZipFile(to, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), DAY_ZERO)
                archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def link(query: str) -> dict:
    """What a link asks for, and the link that the app makes of it."""
    read = read_query(dict(parse_qsl(query, keep_blank_values=True)))
    settings = {**defaults(), **read.settings}
    return {
        "query": query,
        "settings": settings,
        "other": read.other,
        "hidden": read.hidden,
        "num_problems": len(read.problems),
        "written": query_of(settings, read.other, read.hidden),
    }


def about(run: Path) -> dict:
    """What the golden run folder holds, and how it goes on."""
    loaded = Checkpoint.load(run)
    found = {"step": loaded.step, "sha256": measure.fingerprint(loaded.weights)}
    shutil.copytree(run, "again")
    assert tlab.cli.main(["train", "--resume", "again", "--corpus", "text.txt"]) == 0
    whole = Checkpoint.load("again")
    return {
        **found,
        "losses": [record.loss for record in whole.records],
        "validation_losses": [record.validation_loss for record in whole.records],
        "sha256_at_the_end": measure.fingerprint(whole.weights),
    }


def in_lines(value: object) -> str:
    """JSON with a field, or an element that has fields, on a line of its own, so that a change is seen where it is."""
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {in_lines(one)}" for key, one in value.items()) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(map(in_lines, value)) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def write_json(name: str, content: object) -> None:
    """Into the golden folder."""
    (measure.FOLDER / name).write_text(in_lines(content) + "\n", encoding="utf-8")


def main() -> None:
    """Make all of them."""
    platform.node = lambda: "golden"  # whose machine it was is nobody's business
    write_json("numbers.json", numbers())
    write_json("links.json", [link(query) for query in LINKS])
    with tempfile.TemporaryDirectory() as parent:
        os.chdir(parent)
        shutil.copyfile(measure.FOLDER / "text.txt", "text.txt")
        run = run_folder(Path(parent))
        pack(run, measure.FOLDER / "run.zip")
        artefacts = {"run": about(run)}
        measure.swept(Path(parent) / "sweep")
        pack(Path(parent) / "sweep", measure.FOLDER / "sweep.zip")
    for name, settings, text in (
        ("one_side", [{"norm": "layernorm"}], measure.TEXT),
        ("two_sides", [{"norm": "layernorm"}, {"norm": "none"}], measure.TEXT),
    ):
        kept, digests = kept_run(name, settings, text)
        (measure.FOLDER / f"{name}.zip").write_bytes(write_export(kept))
        artefacts[name] = {
            "sha256": digests,
            "losses": [[record.loss for record in side.checkpoint.records] for side in kept.sides],
            "settings": [
                {**dataclasses.asdict(side.checkpoint.model_config), **dataclasses.asdict(side.checkpoint.train_config)}
                for side in kept.sides
            ],
        }
    write_json("artefacts.json", artefacts)


if __name__ == "__main__":
    main()
