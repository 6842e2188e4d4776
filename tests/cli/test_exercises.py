"""`tlab exercise`: what it prints, and its exit codes."""

from pathlib import Path

import pytest

from tlab.cli.commands import main
from tlab.exercises import EXERCISES

RIGHT = "import numpy as np\n\n\ndef top_p(probabilities, p):\n" + "".join(
    f"    {line}\n"
    for line in (
        "order = np.argsort(-probabilities)",
        "before = np.cumsum(probabilities[order]) - probabilities[order]",
        "kept = np.zeros_like(probabilities)",
        "kept[order] = np.where(before < p, probabilities[order], 0)",
        "return kept / kept.sum()",
    )
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test in a folder of its own, with a text in it."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 20, encoding="utf-8")


def exercise(capsys, *arguments):
    """Exit code, and what was printed."""
    code = main(["exercise", *arguments])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_list_has_every_exercise(capsys):
    code, printed = exercise(capsys, "list")
    assert code == 0 and all(f"{name} " in printed for name in EXERCISES)


def test_from_the_start_to_a_text_of_ones_own_part(capsys):
    code, printed = exercise(capsys, "start", "top_p")
    assert code == 0 and "top_p.py and test_top_p.py" in printed and "tlab exercise check top_p" in printed
    code, printed = exercise(capsys, "check", "top_p")
    assert code == 1 and "it is not written yet" in printed
    code, printed = exercise(capsys, "train", "top_p", "--corpus", "text.txt", "--steps", "2")
    assert code == 1 and "first make it right" in printed
    Path("top_p/top_p.py").write_text(RIGHT, encoding="utf-8")
    code, printed = exercise(capsys, "check", "top_p")
    assert code == 0 and "top_p: all right" in printed and "keep_top_p in tlab/generate.py" in printed
    code, printed = exercise(capsys, "train", "top_p", "--corpus", "text.txt", "--steps", "2")
    assert code == 0 and printed.endswith("the same text\n")


def test_the_folder_one_is_in_needs_no_name(capsys, monkeypatch):
    exercise(capsys, "start", "top_p", "--out", "mine")
    monkeypatch.chdir("mine")
    Path("top_p.py").write_text(RIGHT.replace("before < p", "before + probabilities[order] <= p"), encoding="utf-8")
    code, printed = exercise(capsys, "check")
    assert code == 1 and "the token that crosses p is left out" in printed


def test_curves_of_both_parts_are_printed_with_a_verdict(capsys):
    exercise(capsys, "start", "alibi_slopes", "--notebook")
    notebook = Path("alibi_slopes/alibi_slopes.ipynb")
    stub = 'raise NotImplementedError(\\"this is yours to write\\")'
    text = notebook.read_text("utf-8")
    assert stub in text
    own = "from tlab.nn.positions import Alibi; return Alibi.reference(num_heads)"
    notebook.write_text(text.replace(stub, own), encoding="utf-8")
    code, printed = exercise(capsys, "train", "alibi_slopes", "--corpus", "text.txt", "--steps", "3")
    assert code == 0 and "the same curve: the losses differ by 0.0e+00 at most" in printed
    assert [line.split()[0] for line in printed.splitlines() if line[:6].strip().isdigit()] == ["1", "2", "3"]


def test_an_answer_that_fails_in_training_alone_is_an_error_with_its_line(capsys):
    exercise(capsys, "start", "alibi_slopes")
    own = (
        "import sys\n\nfrom tlab.nn.positions import Alibi\n\n\ndef alibi_slopes(num_heads):\n"
        "    if sys._getframe(1).f_code.co_name == 'plant':\n        raise ValueError('tired')\n"
        "    return Alibi.reference(num_heads)\n"
    )
    Path("alibi_slopes/alibi_slopes.py").write_text(own, encoding="utf-8")
    assert exercise(capsys, "check", "alibi_slopes")[0] == 0
    code, printed = exercise(capsys, "train", "alibi_slopes", "--corpus", "text.txt", "--steps", "3")
    assert code == 2 and "in training it ended with ValueError: tired" in printed and "in line 8 of" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("start", "rmsnrm"), "Did you mean 'rmsnorm'?"),
        (("start", "rope", "--out", ""), "out is empty"),
        (("check", "nowhere"), "nowhere holds no exercise"),
        (("train", "."), "holds no exercise"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, arguments, words):
    code, printed = exercise(capsys, *arguments)
    assert code == 2 and words in printed and printed.startswith("error: ") and printed.count("\n") == 1


def test_an_unknown_corpus_is_an_error_that_names_the_known_ones(capsys):
    exercise(capsys, "start", "top_p")
    Path("top_p/top_p.py").write_text(RIGHT, encoding="utf-8")
    code, printed = exercise(capsys, "train", "top_p", "--corpus", "nothing")
    assert code == 2 and "unknown corpus 'nothing'" in printed and "it ended with" not in printed
