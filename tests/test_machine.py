"""Freed memory is given back where it is asked for, also in a process that keeps it for its training steps."""

import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlab.machine import peak_memory_mib, total_memory, touch_product_memory

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


def test_threads_touch_the_memory_of_products_at_the_same_time(monkeypatch):
    at_once, products = threading.Barrier(3, timeout=60), []

    class Factor:
        def dot(self, other):
            at_once.wait()  # breaks unless three are here together
            products.append(other)

    monkeypatch.setattr("tlab.machine.np", SimpleNamespace(ones=lambda *_: Factor(), float32=None))
    touch_product_memory.__wrapped__(3)
    assert len(products) == 3
