"""Freed memory is given back where it is asked for, also in a process that keeps it for its training steps."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlab.machine import TouchedMemory, multiply_at_once, peak_memory_mib, total_memory, touch_product_memory

PROGRAM = """
from pathlib import Path
import numpy as np
from tlab.machine import give_back_memory, keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
assert keep_freed_memory()
before = resident()
arrays = [np.ones(2**17) for _ in range(100)]  # a megabyte each
full = resident()
del arrays
kept = resident()
assert give_back_memory()
print(full - before, kept - before, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator that keeps memory is that of Linux")
def test_what_was_kept_can_be_given_back():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    full, kept, after = map(int, result.stdout.split())
    assert full > 90e6
    assert kept > 90e6
    assert after < 20e6


HEAPS = """
import ctypes, threading
import numpy as np
from tlab.machine import share_heaps
assert share_heaps()
hold, held = threading.Event(), []
def work():
    held.append(np.ones(1000))
    hold.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
while len(held) < 12: pass
ctypes.CDLL(None).malloc_stats()
hold.set()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator that keeps memory is that of Linux")
def test_threads_of_a_server_share_two_heaps():
    result = subprocess.run([sys.executable, "-c", HEAPS], capture_output=True, text=True, check=True)
    assert 1 <= result.stderr.count("Arena ") <= 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")
def test_peak_memory_is_in_units_of_1024_kibibytes():
    own = peak_memory_mib()
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert own == pytest.approx(int(kibibytes) / 1024, rel=0.005)


@pytest.mark.parametrize(
    ("limits", "least"),
    [(["max", None], False), (["1048576", None], True), ([None, "1048576"], True), (["", "-"], False)],
)
def test_the_memory_of_a_container_is_what_it_may_have(tmp_path, monkeypatch, limits, least):
    whole = total_memory()
    places = [tmp_path / str(i) for i in range(2)]
    for place, limit in zip(places, limits, strict=True):
        if limit is not None:
            place.write_text(limit + "\n")
    monkeypatch.setattr("tlab.machine.MEMORY_LIMITS", places)
    assert total_memory() == 2**20 if least else total_memory() >= whole


@pytest.fixture
def products(monkeypatch):
    """Products that take a fifth of a second, and note in which threads they are made."""
    noted = SimpleNamespace(made=[])

    class Factor:
        def dot(self, _):
            noted.made.append(threading.get_ident())
            time.sleep(0.2)

    monkeypatch.setattr("tlab.machine.np", SimpleNamespace(ones=lambda *_: Factor(), float32=None))
    monkeypatch.setattr(TouchedMemory, "products", 0)
    return noted


def test_the_memory_of_products_is_touched_once_and_again_for_more_threads(products):
    made = []
    for threads in (1, 1, 3, 2):
        touch_product_memory(threads)
        made.append(len(products.made))
    assert 1 <= made[0] == made[1] <= made[2] - 3
    assert made[2] == made[3]


def test_products_that_were_not_made_at_the_same_time_are_made_again(products, monkeypatch):
    outcomes = iter([False, False, True])
    monkeypatch.setattr(
        "tlab.machine.multiply_at_once", lambda threads: products.made.append(threads) or next(outcomes)
    )
    touch_product_memory(2)
    assert products.made == [2, 2, 2]


def test_products_of_one_moment_are_at_the_same_time_and_in_a_thread_each(products):
    while not multiply_at_once(3):  # a busy machine may start one late
        products.made.clear()
    assert len(set(products.made)) == 3
