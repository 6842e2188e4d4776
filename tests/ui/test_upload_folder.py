"""Uploads and exports on the disk: for minutes, within a budget, and never longer than their server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlab.ui.upload_folder import SECONDS_KEPT, UploadFolder


@pytest.fixture
def uploads(tmp_path):
    made = UploadFolder(tmp_path, budget=100)
    yield made
    made.close()


def put(uploads: UploadFolder, name: str, size: int, age: float = 0) -> Path:
    path = uploads.folder / name / "text.txt"
    path.parent.mkdir()
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_the_oldest_make_room_within_the_budget(uploads):
    oldest, older, newest = put(uploads, "a", 40, 30), put(uploads, "b", 40, 20), put(uploads, "c", 40, 10)
    uploads.tidy()
    assert [path.exists() for path in (oldest, older, newest)] == [False, True, True]
    uploads.tidy(room=50)
    assert [path.exists() for path in (older, newest)] == [False, True]
    assert not older.parent.exists()


def test_what_is_old_goes_although_there_is_room(uploads):
    old = put(uploads, "a", 1, SECONDS_KEPT + 60)
    uploads.tidy()
    assert not old.exists()


def test_what_was_broken_off_goes_and_what_arrived_stays(uploads):
    whole = put(uploads, "a", 1)
    (uploads.folder / "tmp1234").write_bytes(b"half")
    uploads.remove_unfinished()
    assert [path.name for path in uploads.folder.iterdir()] == ["a"] and whole.exists()


SERVER = """
import os, pathlib, sys
from tlab.ui.upload_folder import UploadFolder
made = UploadFolder(pathlib.Path(sys.argv[1]))
(made.folder / "secret.txt").write_text("left behind")
os.kill(os.getpid(), 9) if sys.argv[2] == "killed" else made.close()
"""


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_nothing_outlives_its_server_and_the_next_start(tmp_path, how):
    subprocess.run([sys.executable, "-c", SERVER, str(tmp_path), how], timeout=60)
    UploadFolder(tmp_path).close()
    assert not list(tmp_path.rglob("*"))


def test_a_server_leaves_the_files_of_another_that_is_alive(tmp_path, uploads):
    path = put(uploads, "a", 1)
    UploadFolder(tmp_path).close()
    assert path.exists()
