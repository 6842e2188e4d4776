"""Train this run again, and compare every loss with the recorded one, to the last digit: `python repeat.py`.

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
from tlab.text import Corpus, corpus_from_text
from tlab.training.trainer import Trainer

HERE = Path(__file__).parent


def read_corpus(about: dict) -> Corpus:
    """The text of the run: the one beside this file, or the lab's own by its name."""
    text = HERE / "text.txt"
    if text.exists():
        return corpus_from_text(text.read_bytes().decode("utf-8"), about["name"], tokenizer=about["tokenizer"])
    return load_corpus(about["name"], about["tokenizer"])


def repeat(folder: Path, about: dict, corpus: Corpus) -> bool:
    """Train one side, step by step; -> whether all of its losses are those of metrics.csv."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        recorded = list(csv.DictReader(file))
    trainer = Trainer(ModelConfig.from_json(config["model"]), TrainConfig.from_json(config["training"]), corpus)
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
    corpus = read_corpus(run["corpus"])
    if corpus.sha256 != run["corpus"]["sha256"]:
        print(f"the text {corpus.name!r} here is not the one of the run: its sha256 is {corpus.sha256}")
        return 1
    with threadpool_limits(limits=1):  # as in the app; more threads add in another order
        equal = [repeat(HERE / side["folder"], side, corpus) for side in run["sides"]]
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
