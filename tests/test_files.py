"""Files: written whole or not at all, by whoever lives; and known again by their checksums."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import tlab.files
from tlab import Trainer, generate, generate_samples
from tlab.files import (
    SUMS_NAME,
    DamagedFileError,
    check_file,
    damaged_files,
    read_checksums,
    remove_half_written,
    replaced,
    safetensors_parts,
    with_checksums,
    write_atomically,
)
from tlab.inside import probe


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table[1].csv"


def killed_while_writing(path):
    """What a process leaves that ends in the middle of a write."""
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom tlab.files import replaced\n"
        "with replaced(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    file.flush()\n    os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", program, str(path)], env=environment).returncode == 9
    (left,) = path.parent.glob(".*")
    return left


# --- arrays ---


def test_the_library_reads_the_arrays_that_were_written(path):
    numbers = np.arange(24.0).reshape(4, 6)
    arrays = {
        "b": numbers.astype(np.float32).T, "a": numbers[::2, 1:4], "odd": np.ones(3, np.float32),
        "none": np.zeros((0, 2)), "one": np.array(5.0),
    }  # fmt: skip
    with replaced(path) as file:
        file.writelines(safetensors_parts(arrays, {"about": "ä"}))
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"about": "ä"}
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


# --- half-written files ---


def test_whoever_writes_a_file_next_removes_what_a_killed_process_left_of_it(path):
    left = killed_while_writing(path)
    other = path.with_name(f".other.csv.{left.name[-8:]}")
    other.write_text("of another file")
    write_atomically(path, b"whole")
    assert sorted(path.parent.iterdir()) == sorted([other, path]) and path.read_bytes() == b"whole"


def test_a_file_that_somebody_is_writing_is_left_alone(path):
    with replaced(path) as first:
        first.write(b"first")
        remove_half_written(path.parent, "*")
        write_atomically(path, b"second")
        assert os.path.exists(first.name) and path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]


def test_a_file_that_was_taken_for_left_over_before_it_was_locked_is_made_again(path, monkeypatch):
    lock, taken = tlab.files.fcntl.flock, []

    def taken_once(file, how):
        if not taken:
            taken.append(file.name)
            os.unlink(file.name)
        lock(file, how)

    monkeypatch.setattr(tlab.files.fcntl, "flock", taken_once)
    write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole" and len(taken) == 1


def test_where_files_cannot_be_locked_they_are_written_and_nothing_is_removed(path, monkeypatch):
    left = path.with_name(f".{path.name}.abcdefgh")
    left.touch()

    def no_locks(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(tlab.files.fcntl, "flock", no_locks)
    write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole" and left.exists()


def test_where_an_open_file_cannot_be_replaced_it_is_closed_before(path, monkeypatch):
    path.with_name(f".{path.name}.abcdefgh").touch()
    replace = os.replace

    def windows(source, target):
        assert file.closed
        replace(source, target)

    monkeypatch.setattr(tlab.files, "fcntl", None)
    monkeypatch.setattr(os, "replace", windows)
    with replaced(path) as file:
        file.write(b"whole")
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(path):
    path.write_bytes(b"old")

    def interrupted():
        with replaced(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


# --- checksums ---


@pytest.fixture
def summed(tmp_path):
    with with_checksums(tmp_path, ["a.csv", "b/c.png", "never.csv"]):
        (tmp_path / "a.csv").write_bytes(b"1,2\n")
        (tmp_path / "b").mkdir()
        (tmp_path / "b/c.png").write_bytes(b"picture")
    return tmp_path


def test_a_changed_byte_is_found_and_what_has_no_checksum_is_taken_as_it_is(summed):
    assert sorted(read_checksums(summed)) == ["a.csv", "b/c.png"] and damaged_files(summed) == []
    check_file(summed / "a.csv")
    (summed / "a.csv").write_bytes(b"1,3\n")
    (summed / "own.csv").write_bytes(b"1,3\n")
    with pytest.raises(DamagedFileError, match=SUMS_NAME):
        check_file(summed / "a.csv")
    check_file(summed / "own.csv")
    assert damaged_files(summed) == ["a.csv"]


def test_a_file_that_was_removed_is_not_damaged(summed):
    (summed / "a.csv").unlink()
    assert damaged_files(summed) == []


def test_no_checksum_outlives_the_writer_that_was_to_renew_it(summed):
    def failing():
        with with_checksums(summed, ["a.csv"]):
            (summed / "a.csv").write_bytes(b"new\n")
            raise MemoryError

    with pytest.raises(MemoryError):
        failing()
    assert sorted(read_checksums(summed)) == ["b/c.png"]
    check_file(summed / "a.csv")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_checksums_are_those_of_sha256sum(summed):
    words = ["sha256sum", "--check", "--quiet", SUMS_NAME]
    assert subprocess.run(words, cwd=summed).returncode == 0
    (summed / "b/c.png").write_bytes(b"pictures")
    assert subprocess.run(words, cwd=summed, capture_output=True).returncode == 1


@pytest.mark.parametrize("content", [b"", b"no checksum at all", b"\xff\xfe  a.csv\n"])
def test_damaged_checksums_are_no_reason_to_stop(summed, content):
    (summed / SUMS_NAME).write_bytes(content)
    read_checksums(summed)
    with with_checksums(summed, ["a.csv"]):
        (summed / "a.csv").write_bytes(b"new\n")
    check_file(summed / "a.csv")


FOLDER = Path("runs") / "first"


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: generate(FOLDER, "a"), "checkpoint = 'runs/first' is where something lies; give what Checkpoint.load"),
        (lambda: generate_samples(str(FOLDER), None, "a", samples=2), "model = 'runs/first' is where"),
        (lambda: probe("lens", str(FOLDER), "ab"), "give what Checkpoint.load('runs/first') reads from there"),
        (lambda: Trainer.resume(FOLDER, None), "checkpoint = 'runs/first' is where"),
        (
            lambda: Trainer(None, None, "names"),
            "corpus = 'names' is where something lies; give what load_corpus('names')",
        ),
    ],
)
def test_whoever_gives_a_place_where_what_lies_there_is_wanted_is_told_what_reads_it(ask, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        ask()
