"""Train this run again, and compare every loss with the recorded one, to the last digit: `python repeat.py`.

A side that began with the weights of another run needs these: name the files, `python repeat.py CHECKPOINT ...`.

It needs the lab: install it (`pip install -e .` in its folder), or start this file from the lab's folder with
`PYTHONPATH=. python path/to/repeat.py`. Equal digits can be promised on the same kind of machine with the same
versions, which run.json names: another processor adds the same numbers in another order.
"""

import csv
import json
import sys
from pathlib import Path

from threadpoolctl import threadpool_limits

from tlab import ModelConfig, TrainConfig, load_corpus
from tlab.text import Corpus, Tokenizer, corpus_from_text
from tlab.training.checkpoint import Checkpoint
from tlab.training.trainer import Trainer

HERE = Path(__file__).parent


def read_corpus(name: str, tokenizer: str | Tokenizer) -> Corpus:
    """The text of the run: the one beside this file, or the lab's own by its name."""
    text = HERE / "text.txt"
    if text.exists():
        return corpus_from_text(text.read_bytes().decode("utf-8"), name, tokenizer=tokenizer)
    return load_corpus(name, tokenizer)


def read_config(folder: Path) -> dict:
    """The settings of one side."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def make_trainer(config: dict, corpus: Corpus, given: dict[str, Checkpoint]) -> Trainer:
    """With random weights, or with those of another run that it began with."""
    training = TrainConfig.from_json(config["training"])
    if "started_from" not in config:
        return Trainer(ModelConfig.from_json(config["model"]), training, corpus)
    return Trainer.start_from(given[config["started_from"]["sha256"]], training, corpus)


def repeat(folder: Path, about: dict, trainer: Trainer) -> bool:
    """Train one side, step by step; -> whether all of its losses are those of metrics.csv."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        recorded = list(csv.DictReader(file))
    equal = 0
    for record, row in zip(trainer, recorded, strict=False):
        validation = "" if record.validation_loss is None else repr(record.validation_loss)
        same = (repr(record.loss), validation) == (row["loss"], row["validation_loss"])
        equal += same
        if not same or validation or record.step in (1, len(recorded)):
            remark = "" if same else f"  differs: recorded {row['loss']}"
            print(f"{folder.name}  step {record.step:>6}  loss {record.loss!r}  validation {validation or '-'}{remark}")
        if not same:
            break
    print(f"{folder.name} ({about['label']}): {equal} of {len(recorded)} losses are equal to the last digit")
    return equal == len(recorded)


def main() -> int:
    """Repeat every side; -> 0 when all digits are equal."""
    run = json.loads((HERE / "run.json").read_text(encoding="utf-8"))
    given = {checkpoint.weights_sha256: checkpoint for checkpoint in map(Checkpoint.load, sys.argv[1:])}
    configs = [read_config(HERE / side["folder"]) for side in run["sides"]]
    needed = [config["started_from"] for config in configs if "started_from" in config]
    for start in needed:
        if start["sha256"] not in given:
            print(f"this run began with the weights of {start['name']!r} after {start['step']} steps, which are not in")
            print(f"its zip: name the checkpoint that has them (their sha256 is {start['sha256']})")
            return 1
    tokenizer = given[needed[0]["sha256"]].tokenizer if needed else run["corpus"]["tokenizer"]
    corpus = read_corpus(run["corpus"]["name"], tokenizer)
    if corpus.sha256 != run["corpus"]["sha256"]:
        print(f"the text {corpus.name!r} here is not the one of the run: its sha256 is {corpus.sha256}")
        return 1
    with threadpool_limits(limits=1):  # as in the app; more threads add in another order
        equal = [
            repeat(HERE / side["folder"], side, make_trainer(config, corpus, given))
            for side, config in zip(run["sides"], configs, strict=True)
        ]
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
