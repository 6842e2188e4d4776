"""A training run on the terminal: what is about to happen, how it goes, how it ended."""

from __future__ import annotations

import math
import shlex
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tlab.cli.output import CommandResult
from tlab.cli.run_folder import save_state
from tlab.config import ConfigError, options
from tlab.generate import generate_tokens
from tlab.nn.config import ModelConfig
from tlab.text import Tokenizer, UnknownCharacterError, corpus_names
from tlab.text.overlap import overlap_sentence
from tlab.text.units import bits_per_byte
from tlab.training.answers import answer_accuracy
from tlab.training.records import StepRecord
from tlab.training.snapshots import save_snapshot, snapshot_steps
from tlab.training.trackers import numbers_of, opened_tracker
from tlab.training.trainer import Trainer, evaluate
from tlab.wording import duration, percent, several

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 128 + signal.SIGINT  # the last as shells have it
END_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Ctrl-C; the end of a container or a job; a terminal that was closed, which Windows has no signal for."""
SECONDS_OF_PATIENCE = 1.0  # after a Ctrl-C, before another one means that the run shall end at any price
SAMPLE_TOKENS = 160  # two lines or three
RECENT_STEPS = 20  # over which the training loss is averaged
MEASURED_STEPS = 10  # for an estimate of the time: enough to be steady,
UNMEASURED_STEPS = 5  # once the first ones have warmed up the caches
SECONDS_UNTOLD = 10.0  # after which slow steps are estimated by those that there are, without the first


def introduce(trainer: Trainer, folder: Path) -> None:
    corpus, model, training, compute = trainer.corpus, trainer.config, trainer.train_config, trainer.compute
    V = corpus.tokenizer.vocab_size
    switches = ", ".join(str(getattr(model, name)) for name, o in options(ModelConfig).items() if o.registry)
    print(
        f"corpus    {visible(corpus.name)}: {corpus.size:,} characters, sha256 {corpus.sha256[:12]}, vocabulary of {V}"
    )
    print(f"unseen?   {overlap_sentence(corpus)}")
    print(f"model     {trainer.model.num_parameters:,} parameters: {several(model.num_layers, 'layer')}, "
          f"{several(model.num_heads, 'head')}, width {model.hidden_dim}, context {model.context_length}; "
          f"{switches}")  # fmt: skip
    if trainer.started_from is not None:
        name, step, sha256 = (trainer.started_from[key] for key in ("name", "step", "sha256"))
        print(f"began as  {visible(name)} at step {step}, weights of sha256 {sha256[:12]}")
    start = f"from step {trainer.step} on, " if trainer.step else ""
    print(f"training  {start}{several(training.steps, 'step')} of {training.batch_size} x {model.context_length} "
          f"tokens, {training.optimizer}, {training.schedule}")  # fmt: skip
    if training.ends_in_warmup:
        warmup = several(training.warmup_steps, "step")
        print(f"warm-up   {warmup}, so the learning rate is never reached: take more --steps, or fewer --warmup-steps")
    pieces = f", a batch in {compute.micro_batches} pieces" if compute.micro_batches > 1 else ""
    again = ", blocks computed again in backward" if compute.recompute else ""
    print(f"compute   {several(compute.threads or 1, 'thread')}{pieces}{again}")
    print(f"folder    {visible(str(folder))}")
    bits = bits_per_byte(math.log(V), corpus.bytes_per_token.validation)
    print(f"to beat   {math.log(V):.3f} nats per token, {bits:.3f} bits per byte: a uniform guess", flush=True)
    if corpus.known_loss is not None:
        print(f"to reach  {corpus.known_loss:.3f} nats per token: a model that knows the rule of the text", flush=True)


def train_and_tell(
    trainer: Trainer,
    folder: Path,
    sample_every: int,
    prompt: str,
    stop_requested: Callable[[], bool],
    num_snapshots: int = 0,
    note: Callable[[StepRecord], Any] = lambda record: None,
) -> None:
    """The training itself, with a bar, a line at every validation, and now and then a sample or a snapshot."""
    steps, first, say = trainer.train_config.steps, trainer.step, tqdm.write
    before = begun = trainer.records[-1] if trainer.records else None
    kept = snapshot_steps(steps, num_snapshots)
    if first == 0 and kept:
        keep_snapshot(trainer, folder)
    if first == 0 and trainer.started_from is not None:
        loss = evaluate(trainer.result, trainer.corpus.validation, threads=trainer.batch_threads)
        say(f"before    validation {validation_words(loss, trainer)}, with the weights that it began with")
    is_told = False
    with tqdm(total=steps, initial=first, unit="step", disable=None, dynamic_ncols=True) as bar:
        for record in trainer:
            bar.set_postfix_str(f"loss {record.loss:.3f}", refresh=False)
            bar.update()
            step = record.step
            note(record)
            count, spent = step - first, record.seconds - (begun.seconds if begun else 0.0)
            is_known = count >= UNMEASURED_STEPS + MEASURED_STEPS or (count > 1 and spent >= SECONDS_UNTOLD)
            if is_known and not is_told and not trainer.finished:
                is_told = True
                say(f"about {duration(seconds_left(trainer, min(MEASURED_STEPS, count - 1)))} left")
            if record.validation_loss is not None:
                tokens = record.tokens - (before.tokens if before else 0)
                seconds = record.seconds - (before.seconds if before else 0.0)
                recent = trainer.records[-RECENT_STEPS:]
                loss = sum(r.loss for r in recent) / len(recent)
                accuracy = answer_accuracy(trainer.result, trainer.corpus)
                answers = "" if accuracy is None else f"  answers {percent(accuracy)} right"
                say(f"step {step:>{len(str(steps))}}  training {loss:.3f}  "
                    f"validation {validation_words(record.validation_loss, trainer)}{answers}  "
                    f"{tokens / seconds:,.0f} tokens/s")  # fmt: skip
                try:
                    save_state(folder, trainer)
                except OSError as error:  # a full disk may have room again by the next one
                    say(f"warning: not saved at step {step}: {error}")
            if step in kept and np.isfinite(trainer.model.parameters.data).all():
                keep_snapshot(trainer, folder)
            if sample_every and step % sample_every == 0 and trainer.divergence is None:
                say("\n".join(f"    {line}" for line in sample(trainer, prompt, SAMPLE_TOKENS).split("\n")))
            if stop_requested():
                return


@contextmanager
def noted_steps(log: str | None, trainer: Trainer, folder: Path) -> Iterator[Callable[[StepRecord], Any]]:
    """What notes a step with the program that `log` names, if it names one.

    Where that program fails later on, it is said, and the training goes on without it.

    Raises:
        TrackerError: the program cannot begin.
    """
    if log is None:
        yield lambda record: None
        return
    failures: list[Exception] = []
    settings = {**trainer.train_config.to_json(), **trainer.config.to_json()}
    with ExitStack() as stack:
        tracker = stack.enter_context(opened_tracker(log, folder, folder.resolve().name, settings))

        def note(record: StepRecord) -> None:
            try:
                if not failures:
                    tracker.log(record.step, numbers_of(record))
            except Exception as error:  # of whatever kind that program has
                failures.append(error)
                tqdm.write(f"warning: no more steps are noted with {log}: {error}")

        try:
            yield note
        finally:
            end = stack.pop_all()
            try:
                end.close()
            except Exception as error:  # likewise
                tqdm.write(f"warning: {log} did not end well: {error}")


def keep_snapshot(trainer: Trainer, folder: Path) -> None:
    try:
        save_snapshot(folder, trainer.checkpoint(copy=False))
    except OSError as error:
        tqdm.write(f"warning: no snapshot of step {trainer.step}: {error}")


def validation_words(loss: float, trainer: Trainer) -> str:
    """A validation loss in both units."""
    return f"{loss:.3f}, {bits_per_byte(loss, trainer.corpus.bytes_per_token.validation):.3f} bits per byte"


def seconds_left(trainer: Trainer, count: int) -> float:
    """An estimate from the last `count` steps."""
    config, records = trainer.train_config, trainer.records
    a_step = (records[-1].seconds - records[-1 - count].seconds) / count
    num_steps = config.steps - trainer.step
    num_validations = 1 + num_steps // config.validation_every if config.validation_every else 1
    tokens_a_step = config.batch_size * trainer.config.context_length
    a_validation = a_step / 3 * len(trainer.corpus.validation) / tokens_a_step  # forward is a third of a step
    return a_step * num_steps + a_validation * num_validations


def sample(trainer: Trainer, prompt: str, num_tokens: int) -> str:
    """What the model generates now, always with the same random numbers, so that samples can be compared.

    Raises:
        ValueError: the prompt is empty, or has characters that are not in the vocabulary.
    """
    tokens = generate_tokens(trainer.result, trainer.corpus.tokenizer, prompt, max_new_tokens=num_tokens)
    try:
        with np.errstate(all="ignore"):
            return visible(prompt + "".join(map(str, tokens))).strip("\n")
    except ValueError:  # scores that are not finite choose no token; at the next step the run itself will say more
        return "(no sample: the model's scores are not finite)"


def check_prompt(prompt: str, tokenizer: Tokenizer) -> None:
    """Refuse a prompt with characters that are not in the vocabulary.

    Raises:
        ConfigError: a line end was typed as it is written in Python.
        UnknownCharacterError: any other.
    """
    try:
        tokenizer.encode(prompt)
    except UnknownCharacterError as error:
        if "\\n" not in prompt:
            raise
        raise ConfigError(f"{error}. For the end of a line, type --prompt $'\\n'") from error


OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What turns the direction of the text around it; a letter of a language that is written so needs none of them."""


def visible(text: str) -> str:
    """`text` without characters that a terminal would obey instead of showing: a model may generate any it has seen."""
    return "".join("\N{REPLACEMENT CHARACTER}" if is_obeyed(c) else c for c in text)


def is_obeyed(character: str) -> bool:
    return character in OVERRIDES or (unicodedata.category(character) == "Cc" and character not in "\n\t")


@contextmanager
def stop_request(patience: float = SECONDS_OF_PATIENCE) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C is a request, which the work honours at its next step; a later one interrupts as usual.

    So is every signal that asks a process to end. One that is ignored, as by nohup, stays so.

    Args:
        patience: seconds after the first in which others are the same request: a key pressed twice, or a container and
            its terminal that end together.
    """
    requests: list[float] = []

    def note(signal_number: int, frame: Any) -> None:
        now = time.monotonic()
        if requests and signal_number == signal.SIGINT and now - requests[0] >= patience:
            raise KeyboardInterrupt
        requests.append(now)

    usual = {number: signal.getsignal(number) for number in END_SIGNALS}
    caught = {number: handler for number, handler in usual.items() if handler is not signal.SIG_IGN}
    for number in caught:
        signal.signal(number, note)
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)


def catch_end_signals(act: Callable[[], Any], patience: float) -> dict[int, Any]:
    """Let every signal that asks a process to end do one thing; -> what each of them did before.

    Those within `patience` seconds of one that acted are the same request, so that the end itself is not interrupted.
    One that is ignored, as by nohup, stays so.
    """
    acted: list[float] = []

    def once(signal_number: int, frame: Any) -> None:
        now = time.monotonic()
        if not acted or now - acted[-1] >= patience:
            acted.append(now)
            act()

    usual = {number: signal.getsignal(number) for number in END_SIGNALS}
    caught = {number: handler for number, handler in usual.items() if handler is not signal.SIG_IGN}
    for number in caught:
        signal.signal(number, once)
    return caught


def conclude(trainer: Trainer, folder: Path, kept: bool, corpus: str) -> CommandResult:
    """Say how the training ended, and what comes next; `corpus` is how its text was named."""
    validated = [record.validation_loss for record in trainer.records if record.validation_loss is not None]
    result = {
        "folder": str(folder),
        "step": trainer.step,
        "steps": trainer.train_config.steps,
        "finished": trainer.finished,
        "divergence": trainer.divergence,
        "weights_saved": kept,
        "loss": trainer.records[-1].loss if trainer.records else None,
        "validation_loss": validated[-1] if validated else None,
    }
    return CommandResult(result, told_code(trainer, folder, kept, corpus))


def told_code(trainer: Trainer, folder: Path, kept: bool, corpus: str) -> int:
    """Print the end of a training; -> exit code."""
    where = shlex.quote(str(folder))
    print(
        f"saved in {visible(str(folder))}: "
        + ("checkpoint, config, metrics, loss plot" if kept else "config, metrics, loss plot")
    )
    if trainer.divergence is not None:
        print(f"error: the run {trainer.divergence}. No update was made at that step", file=sys.stderr)
    if not kept:
        print("error: the last weights are not finite and were not saved; the checkpoint of the last validation, if "
              "there was one, is still there", file=sys.stderr)  # fmt: skip
    if trainer.divergence is not None or not kept:
        print("try a smaller --learning-rate, more --warmup-steps, or --gradient-clip 1", file=sys.stderr)
        return EXIT_FAILED
    if not trainer.finished:
        text = "" if corpus in corpus_names() else f" --corpus {shlex.quote(corpus)}"
        print(f"stopped after step {trainer.step} of {trainer.train_config.steps}; continue with\n"
              f"    tlab train --resume {where}{text}")  # fmt: skip
        return EXIT_INTERRUPTED
    print(f"generate text with\n    tlab generate {where}")
    return EXIT_OK
