"""Visitors who mean no good, or press everything at once: is each refused in plain words, and does the server live on?

    python -m benchmarks.abuse [--sessions 200]

Everything goes over the network as a stranger would send it, to a server with the public limits. After each attack
the page is got again, and at the end the memory, the worker processes and the log are looked at.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from safetensors.numpy import load_file, save

from benchmarks.visitors import Refused, Row, Server, Visitor, Watch, finish, table
from tlab.nn.config import ModelConfig
from tlab.text import corpus_from_text
from tlab.training.checkpoint import FILE_NAME, fingerprint
from tlab.training.config import TrainConfig
from tlab.training.trainer import Trainer
from tlab.ui.sharing.write_zip import KeptRun, KeptSide, write_export

EVIL = '<img src=x onerror="window.hacked=1">'
MEGABYTE = 2**20
MAX_GROWTH = 600  # MB: the store's budget of half a gigabyte, and as much for all else as a page needs
MARK = Path(tempfile.gettempdir()) / "tlab-abuse-was-here"


class Bomb:
    """What a pickle does when it is opened."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {MARK}",)


def an_export() -> dict[str, bytes]:
    """The files of an honest export, to be spoilt."""
    text = "the quick brown fox jumps over the lazy dog; " * 40
    corpus = corpus_from_text(text, "your own text")
    config = ModelConfig(corpus.tokenizer.vocab_size, context_length=8, hidden_dim=8, num_layers=1, num_heads=2)
    trainer = Trainer(config, TrainConfig(steps=12), corpus)
    for _ in trainer:
        pass
    content = write_export(KeptRun(f"a run {EVIL}", (KeptSide("this run", trainer.checkpoint()),), text))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes]) -> bytes:
    """Files as a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def other_weights(files: dict[str, bytes], make: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The export with another first matrix, and a checksum that fits it."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / FILE_NAME
        path.write_bytes(files[f"A/{FILE_NAME}"])
        tensors = load_file(path)
    content = files[f"A/{FILE_NAME}"]
    (length,) = struct.unpack("<Q", content[:8])
    about = json.loads(content[8 : 8 + length])["__metadata__"]["tlab"]
    name = next(name for name in tensors if tensors[name].ndim == 2 and name != "records")
    tensors[name] = make(tensors[name])
    metadata = {"tlab": about, "sha256": fingerprint(about, tensors)}
    return zipped({**files, f"A/{FILE_NAME}": save(tensors, metadata=metadata)})


def hostile_uploads() -> dict[str, bytes]:
    """By what each is."""
    files = an_export()
    whole = zipped(files)
    return {
        "pickle": pickle.dumps(Bomb()),
        "pickle as weights": zipped({**files, f"A/{FILE_NAME}": pickle.dumps(Bomb())}),
        "zip bomb": zipped({**files, "text.txt": b"a" * 60_000_000}),
        "NaN weights": other_weights(files, lambda w: np.full_like(w, np.nan)),
        "wrong shape": other_weights(files, lambda w: np.ascontiguousarray(w[:-1])),
        "traversal": zipped({**files, "../../etc/cron.d/x": b"x"}),
        "absolute name": zipped({**files, "/etc/passwd": b"x"}),
        "cut in half": whole[: len(whole) // 2],
        "deep JSON": zipped({**files, "run.json": b"[" * 3_000_000}),
        "no zip": b"hello",
    }


def refusal_of(action: Callable[[], object]) -> str:
    """The words of the refusal; empty where it was let through."""
    try:
        action()
    except Refused as refused:
        return str(refused)
    return ""


def plain(words: str) -> bool:
    """Whether these are words for people: a sentence, no traceback, no markup that a page would obey."""
    return len(words) > 15 and "Traceback" not in words and "<img" not in words and words != "None"


class Attacks:
    """All of them on one server; `rows` is what came of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.rows: list[Row] = []

    def row(self, what: str, target: str, measured: str, met: bool) -> None:
        """One line of the table; whatever was done, the page must still be there."""
        alive = self.server.answers()
        self.rows.append(Row(what, target, measured if alive else f"{measured}; the server is gone", met and alive))
        print(f"  {what}: {measured}", flush=True)

    def made_up_sessions(self, count: int) -> None:
        """Each starts a run, never listens to it, and says no goodbye."""
        joined, words = 0, set()
        for _ in range(count):
            visitor = Visitor(self.server.url, present=False)
            refused = refusal_of(lambda visitor=visitor: visitor.call("start", "click", field__steps=5000))
            joined += not refused
            words.add(refused)
        words.discard("")
        workers = len(self.server.workers())
        places = (os.cpu_count() or 1) + 1
        self.row(
            f"{count} made-up sessions start, and never listen", f"at most {places} workers; refusals in words",
            f"{joined} joined, {count - joined} refused ({next(iter(words), 'none')[:40]}); {workers} workers",
            workers <= places and all(map(plain, words)),
        )  # fmt: skip

    def start_and_stop(self) -> None:
        """Five times in a row, as fast as it goes."""
        visitor = Visitor(self.server.url)
        for _ in range(5):
            refusal_of(lambda: visitor.call("start", "click", field__steps=5000))
            refusal_of(lambda: visitor.call("stop", "click"))
        time.sleep(1)
        places, workers = (os.cpu_count() or 1) + 1, len(self.server.workers())
        self.row("5 x start and stop in a row", f"at most {places} workers", f"{workers} workers", workers <= places)
        visitor.leave()

    def large_bodies(self) -> None:
        """20 MB as a text, as a prompt, as nonsense, and as a file."""
        visitor = Visitor(self.server.url)
        large = "x" * 20_000_000
        ways = {
            "own text": lambda: visitor.ask("start", "click", field__corpus=":own", field__text=large),
            "prompt": lambda: visitor.ask("prompt", "change", prompt=large),
            "no JSON": lambda: raw(f"{visitor.url}/queue/join", large.encode()),
            "pieces": lambda: raw(f"{visitor.url}/queue/join", (large[:1_000_000].encode() for _ in range(20))),
            "file of 21 MB": lambda: visitor.upload("large.txt", large.encode() + b"x" * 2_000_000),
        }
        with Watch(self.server.url, 0.02) as watch:
            words = {name: refusal_of(way) for name, way in ways.items()}
        let = [name for name, said in words.items() if not plain(said)]
        self.row("bodies of 20 MB, five ways", "refused in words", f"let through or no words: {let or 'none'}", not let)
        worst = max(watch.seconds)
        self.row("another's page meanwhile", "< 500 ms", f"longest {worst * 1e3:.0f} ms", worst < 0.5)
        visitor.leave()

    def uploads(self) -> None:
        """Files that are no exports."""
        visitor = Visitor(self.server.url)
        for name, content in hostile_uploads().items():
            words = refusal_of(
                lambda content=content: visitor.ask(
                    "open-export", "upload", open__export=visitor.upload("run.zip", content)
                )
            )
            self.row(f"upload: {name}", "refused in words", words[:80] or "let through", plain(words))
        self.row("what a pickle would do", "not done", "done" if MARK.exists() else "not done", not MARK.exists())
        paths = ["/etc/passwd", "../../../../etc/passwd", str(Path(__file__).resolve())]
        said = [
            refusal_of(
                lambda path=path: visitor.ask(
                    "open-export", "upload", open__export={"path": path, "meta": {"_type": "gradio.FileData"}}
                )
            )
            for path in paths
        ]
        self.row("paths of the server's own files", "refused", f"{sum(map(bool, said))} of {len(said)}", all(said))
        visitor.leave()

    def markup(self) -> None:
        """As a text to train on, as a prompt, as a setting, and as a number."""
        visitor = Visitor(self.server.url)
        frame = visitor.ask("start", "click", field__corpus=":own", field__text=EVIL * 60, field__steps=50)
        shown = str(visitor.output_of(frame, "start", "click", "run-sample"))
        words = [
            refusal_of(lambda: visitor.ask("start", "click", field__norm=EVIL)),
            refusal_of(lambda: visitor.ask("start", "click", field__corpus=EVIL)),
            refusal_of(lambda: visitor.ask("start", "click", field__steps=EVIL)),
            refusal_of(lambda: visitor.ask("start", "click", field__steps=-5)),
            refusal_of(lambda: visitor.ask("start", "click", field__seed=float(2**40))),
            refusal_of(lambda: visitor.ask("start", "click", field__num_layers=None)),
        ]
        good = "<img" not in shown and all(map(plain, words))
        self.row("markup as text, and nonsense as settings", "text; refused in words",
                 f"{'escaped' if '<img' not in shown else 'MARKUP'}; {sum(map(plain, words))} of {len(words)} refused",
                 good)  # fmt: skip
        visitor.leave()

    def afterwards(self, before: int) -> None:
        """What is left of it all."""
        time.sleep(5)
        grown = (self.server.memory() - before) / MEGABYTE
        self.row("memory of the server", f"< {MAX_GROWTH} MB more", f"{grown:+.0f} MB", grown < MAX_GROWTH)
        count = self.server.output().count("Traceback")
        self.row("tracebacks in the log", "0", str(count), count == 0)


def raw(url: str, content: object) -> None:
    """A body that is no page's."""
    answer = httpx.post(url, content=content, timeout=60)  # pyright: ignore[reportArgumentType]
    if answer.status_code != 200:
        raise Refused(f"{answer.status_code}: {answer.text[:200]}")


def main() -> int:
    """Print the table; the exit code is 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200)
    given = parser.parse_args()
    MARK.unlink(missing_ok=True)
    with Server() as server:
        Visitor(server.url).leave()
        time.sleep(3)
        before = server.memory()
        attacks = Attacks(server)
        attacks.markup()
        attacks.start_and_stop()
        attacks.large_bodies()
        attacks.uploads()
        attacks.made_up_sessions(given.sessions)
        attacks.afterwards(before)
        log = server.output()
    print(table("abuse", attacks.rows))
    if "Traceback" in log:
        print(log[-3000:])
    return finish(attacks.rows)


if __name__ == "__main__":
    sys.exit(main())
