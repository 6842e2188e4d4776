"""The `tlab` command."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlab.cli.flags import (
    CheckConfig,
    Command,
    ExportConfig,
    FalseWinnersConfig,
    ImportConfig,
    ProfileConfig,
    ReadConfig,
    RunConfig,
    SamplingConfig,
    parse,
    text_and_model,
)
from tlab.cli.output import (
    CommandResult,
    LostOutputError,
    delivered_output,
    lasting_output,
    prepare_streams,
    words_typed,
)
from tlab.config import Config, ConfigError, options
from tlab.machine import VERSION
from tlab.nn.config import ModelConfig
from tlab.text import UnknownCharacterError, default_prompt, load_corpus
from tlab.text.config import TextConfig
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trackers import check_tracker
from tlab.wording import several

if TYPE_CHECKING:
    from tlab.inside import Probe
    from tlab.registry import Entry
    from tlab.training.trainer import Trainer

NOT_WELL, MISUSED = 1, 2  # exit codes


# --- train ---


def train(values: Any, argv: Sequence[str]) -> CommandResult:
    from tlab.cli import run_folder, terminal

    run = RunConfig(**vars(values.run))
    if run.log is not None:
        check_tracker(run.log)
    if run.resume is None:
        trainer = new_trainer(values, run, flags_given(argv))
        prompt = checked_prompt(run, trainer)
        folder = run_folder.new_folder(run.out, trainer.corpus.name)
        with run_folder.sole_trainer(folder):
            run_folder.refuse_used(folder)  # a run may have ended here since
            return train_in(folder, trainer, run, prompt, values.text.corpus)
    folder = Path(run.resume)
    folder = folder.parent if folder.is_file() else folder  # the checkpoint's own path will do as well
    with run_folder.sole_trainer(folder):
        trainer = resumed(folder, values, flags_given(argv))
        if trainer.finished and not run_folder.has_plot(folder):  # it was killed between its last step and its end
            kept = run_folder.save_state(folder, trainer)
            run_folder.save_plot(folder, trainer)
            return terminal.conclude(trainer, folder, kept, values.text.corpus)
        refuse_finished(trainer, folder)
        return train_in(folder, trainer, run, checked_prompt(run, trainer), values.text.corpus)


def new_trainer(values: Any, run: RunConfig, given: dict[str, str]) -> Trainer:
    """The trainer of a new run, with random weights or those of another one; `given` the flags that were typed.

    Raises:
        ConfigError: flags that the other one's model contradicts, or a text that its tokenizer cannot read.
    """
    from tlab.cost import refuse_beyond_memory
    from tlab.training.checkpoint import Checkpoint
    from tlab.training.trainer import Trainer

    training, compute = TrainConfig(**vars(values.training)), ComputeConfig(**vars(values.compute))
    if run.from_ is None:
        corpus, config = text_and_model(values)
        refuse_beyond_memory(config, training, compute)
        return Trainer(config, training, corpus, compute=compute)
    checkpoint = Checkpoint.load(run.from_)
    own = {**checkpoint.model_config.to_json(), "tokenizer": checkpoint.corpus["tokenizer"]["tokenizer"]}
    chosen = {**vars(values.model), "tokenizer": values.text.tokenizer}
    if other := [name for name in given if name in chosen and chosen[name] != own[name]]:
        has = ", ".join(f"{name} = {own[name]}" for name in other)
        raise ConfigError(
            f"the model in {run.from_} has {has}, and --from keeps its settings and its tokenizer; leave out "
            f"{', '.join(given[name] for name in other)}"
        )
    try:
        corpus = load_corpus(values.text.corpus, checkpoint.tokenizer)
    except UnknownCharacterError as error:
        raise ConfigError(
            f"{error}. The tokenizer is that of the model in {run.from_}; name another --corpus"
        ) from error
    refuse_beyond_memory(checkpoint.model_config, training, compute)
    name = Path(run.from_).resolve().name
    return Trainer.start_from(checkpoint, training, corpus, name=name, compute=compute)


def checked_prompt(run: RunConfig, trainer: Trainer) -> str:
    """What samples begin with; an invalid one is an error now, not after some hundred steps."""
    from tlab.cli import terminal

    prompt = run.prompt if run.prompt is not None else default_prompt(trainer.corpus.tokenizer)
    terminal.check_prompt(prompt, trainer.corpus.tokenizer)
    terminal.sample(trainer, prompt, 0)
    return prompt


def train_in(folder: Path, trainer: Trainer, run: RunConfig, prompt: str, corpus: str) -> CommandResult:
    """Train to the end, or until somebody asks to stop, and keep it all in the folder; `corpus` names the text."""
    from tlab.cli import run_folder, terminal
    from tlab.machine import one_blas_thread
    from tlab.training.checkpoint import FILE_NAME

    with lasting_output():
        terminal.introduce(trainer, folder)
        with one_blas_thread(), terminal.stop_request() as stop_requested:  # a step's threads are the trainer's
            run_folder.save_config(folder, trainer)
            with terminal.noted_steps(run.log, trainer, folder) as note:
                terminal.train_and_tell(trainer, folder, run.sample_every, prompt, stop_requested, run.snapshots, note)
            try:
                with terminal.stop_request(patience=math.inf):  # nothing interrupts the saving of what was trained
                    kept = run_folder.save_state(folder, trainer)
                    run_folder.save_plot(folder, trainer)
            except OSError as error:
                last = "the last checkpoint" if (folder / FILE_NAME).exists() else "nothing"
                raise ConfigError(f"{folder} cannot be written: {error}; {last} of this run is kept") from error
        return terminal.conclude(trainer, folder, kept, corpus)


def flags_given(argv: Sequence[str]) -> dict[str, str]:
    """Name of each field that was set -> the flag as it was typed: {"hidden_dim": "--hidden-dim"}."""
    typed = [token.partition("=")[0] for token in argv if token.startswith("--")]
    return {flag[2:].replace("-", "_").removeprefix("no_"): flag for flag in typed}


def resumed(folder: Path, values: Any, given: dict[str, str]) -> Trainer:
    """The trainer of an earlier run, `given` the flags that were typed.

    Raises:
        ConfigError: flags that belong to a new run, or a text that cannot be had.
        CheckpointError: no usable checkpoint, or the text is another one.
    """
    from tlab.cli.run_folder import CONFIG_NAME, has_damaged_config
    from tlab.training.checkpoint import Checkpoint
    from tlab.training.trainer import Trainer

    fixed = {*options(ModelConfig), *options(TrainConfig), "tokenizer", "out", "from"}
    refused = [flag for name, flag in given.items() if name in fixed]
    if refused:
        raise ConfigError(f"a resumed run has its own settings; leave out {', '.join(refused)}, or start a new run")
    checkpoint = Checkpoint.load(folder)
    if checkpoint.is_imported:
        raise ConfigError(f"the model in {folder} was imported: there is no training of it to resume")
    if has_damaged_config(folder):
        print(f"note: {folder / CONFIG_NAME} is damaged; what it said of earlier sessions is not kept", file=sys.stderr)
    trained_on = checkpoint.corpus
    try:
        name = values.text.corpus if "corpus" in given else trained_on["name"]
        # Its own tokenizer, where the text alone does not make it: an imported one, or one of a text before this.
        own = checkpoint.tokenizer if checkpoint.started_from else trained_on["tokenizer"]["tokenizer"]
        corpus = load_corpus(name, own)
    except ValueError as error:
        raise ConfigError(f"{error}. To resume, name the text of the run with --corpus") from error
    return Trainer.resume(checkpoint, corpus, compute=resumed_compute(folder, checkpoint.compute, values, given))


def refuse_finished(trainer: Trainer, folder: Path) -> None:
    if trainer.finished:
        why = trainer.divergence or f"all of its {trainer.train_config.steps} steps are made"
        raise ConfigError(f"the run in {folder} has nothing left to do ({why}); start a new one for more")


def resumed_compute(folder: Path, before: ComputeConfig, values: Any, given: dict[str, str]) -> ComputeConfig:
    """How the run was computed so far, but for the flags that say otherwise: then with a note."""
    from tlab.cli.run_folder import last_threads

    before = dataclasses.replace(before, threads=before.threads or last_threads(folder))
    changed = {name: getattr(values.compute, name) for name in options(ComputeConfig) if name in given}
    for name, value in changed.items():
        if (was := getattr(before, name)) not in (None, value):
            print(f"note: this run had {name} = {was} so far; with {value} the last bits of its numbers may differ")
    return dataclasses.replace(before, **changed)


# --- the other commands ---


def generate(values: Any, argv: Sequence[str]) -> CommandResult:
    from tlab.cli.terminal import check_prompt, visible
    from tlab.generate import generate_samples
    from tlab.machine import one_blas_thread
    from tlab.training.checkpoint import Checkpoint

    sampling = SamplingConfig(**vars(values.sampling)).to_json()
    checkpoint = Checkpoint.load(values.folder)
    if sampling["prompt"] is None:
        sampling["prompt"] = default_prompt(checkpoint.tokenizer)
    check_prompt(sampling["prompt"], checkpoint.tokenizer)
    rows = generate_samples(checkpoint.model(), checkpoint.tokenizer, **sampling)
    shown = visible if sys.stdout.isatty() else str
    prompt = shown(sampling["prompt"]).lstrip("\n")
    with one_blas_thread():  # one token at a time has no work for two
        if sampling["samples"] == 1:
            print(prompt, end="", flush=True)
        texts = [""] * sampling["samples"]  # they grow side by side, so several can be shown when they are whole
        for row in rows:
            texts = [text + token.text for text, token in zip(texts, row, strict=True)]
            if sampling["samples"] == 1:
                print(shown(row[0].text), end="", flush=True)
    found = [{"seed": seed, "text": text} for seed, text in enumerate(texts, start=sampling["seed"])]
    if sampling["samples"] == 1:
        print()
    else:
        for row in found:
            print(f"--- seed {row['seed']} ---\n{prompt}{shown(row['text'])}\n")
    return CommandResult({"prompt": sampling["prompt"], "rows": found})


def import_pretrained(values: Any, argv: Sequence[str]) -> CommandResult:
    """Write a model of Hugging Face as a run of the lab; nothing is written before all of it was read."""
    from tlab.cli.run_folder import new_folder
    from tlab.pretrained.reading import read_pretrained
    from tlab.training.checkpoint import Checkpoint

    asked = ImportConfig(**vars(values.importing))
    name = Path(values.folder).resolve().name.removesuffix(".gguf")
    model = read_pretrained(values.folder, asked.context_length, tell=functools.partial(print, flush=True))
    checkpoint = Checkpoint.of_pretrained(model, name)
    for remark in model.remarks:
        print(f"note: {remark}")
    folder = new_folder(asked.out, name)
    try:
        checkpoint.save(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where it is empty
        raise ConfigError(f"{folder} cannot be written: {error}; name another one with --out") from error
    size = sum(array.size for array in model.weights.values())
    print(f"{name}: {model.architecture}, {size:,} parameters, {several(model.config.num_layers, 'layer')}")
    print(f"saved in {folder}; generate text with\n    tlab generate {shlex.quote(str(folder))}")
    return CommandResult(
        {
            "folder": str(folder),
            "name": name,
            "architecture": model.architecture,
            "parameters": size,
            "model": model.config.to_json(),
            "notes": model.remarks,
        }
    )


def export_run(values: Any, argv: Sequence[str]) -> CommandResult:
    """Write a run's model for other programs, or say why they cannot have it."""
    from tlab.training.checkpoint import Checkpoint

    asked = ExportConfig(**vars(values.exporting))
    checkpoint = Checkpoint.load(values.folder)
    run = Path(values.folder).resolve()
    run = run.parent if run.is_file() else run
    folder = Path(asked.out) if asked.out is not None else run.with_name(f"{run.name}-{asked.to}")
    words = checkpoint.export(folder, asked.to)
    files = sorted(path.name for path in folder.iterdir())
    print(f"saved in {folder}: {', '.join(files)}")
    print("\n".join(words))
    return CommandResult({"folder": str(folder), "format": asked.to, "files": files, "notes": words})


def check_configuration(values: Any, argv: Sequence[str]) -> CommandResult:
    """Print a row for every check as it is made; the exit code is 1 when one fails."""
    from tlab.checks import run_checks
    from tlab.inside.bugs import checks_with

    _, config = text_and_model(values)
    bug = values.checking.bug
    rows = checks_with(bug, config) if bug else run_checks(config)
    print(f"{'check':<9} {'tensor or promise':<56} {'error':>8} {'limit':>8}  verdict")
    made = []
    for row in rows:
        made.append({**row._asdict(), "passed": row.passed})
        verdict = "ok" if row.passed else "FAILED"
        print(f"{row.group:<9} {row.name:<56} {row.error:>8.1e} {row.limit:>8.0e}  {verdict}", flush=True)
    failed = sum(not row["passed"] for row in made)
    print(f"{len(made)} checks, " + (f"{failed} FAILED" if failed else "all passed"))
    return CommandResult({"passed": not failed, "rows": made}, NOT_WELL if failed else 0)


def false_winners(values: Any, argv: Sequence[str]) -> CommandResult:
    """Print how often each mistake of method finds a winner, and the honest method; or one contest."""
    from tlab.false_winners.mistakes import MISTAKES, drawn_contest, winner_shares

    asked = FalseWinnersConfig(**vars(values.contest))
    if asked.mistake is not None:
        contest, shares = drawn_contest(asked.mistake, asked.contest_seed), winner_shares(asked.mistake, asked.contests)
        entry = MISTAKES.entries[asked.mistake]
        print(f"{entry.label.capitalize()} ({entry.source})\n\n{entry.description}\n")
        print(f"Said to differ: {entry.component.claimed}. Really, besides their seeds: {entry.component.really}.\n")
        print(f"With the mistake: {contest.mistaken.words}\nWithout it: {contest.honest.words}\n")
        print(
            f"In {asked.contests:,} contests the mistake finds a winner in {shares.mistaken:.1%}, the honest method in "
            f"{shares.honest:.1%}."
        )
        return CommandResult(
            {
                "mistake": asked.mistake,
                "contests": asked.contests,
                **shares._asdict(),
                "contest": {"mistaken": contest.mistaken.words, "honest": contest.honest.words},
            }
        )
    print(f"How often a winner is found, in {asked.contests:,} contests each:\n")
    print(f"{'mistake':<24} {'what it does':<36} {'with it':>8} {'without':>8}")
    rows = []
    for key, entry in MISTAKES.entries.items():
        shares = winner_shares(key, asked.contests)
        rows.append({"mistake": key, **shares._asdict()})
        print(f"{key:<24} {entry.label:<36} {shares.mistaken:>8.1%} {shares.honest:>8.1%}", flush=True)
    return CommandResult({"contests": asked.contests, "rows": rows})


def info(values: Any, argv: Sequence[str]) -> CommandResult:
    from tlab import cost
    from tlab.text.overlap import overlap_sentence

    corpus, config = text_and_model(values)
    training, compute = TrainConfig(**vars(values.training)), ComputeConfig(**vars(values.compute))
    parameters = {row.part: row.parameters for row in cost.parameters_by_part(config)}
    flops = {row.part: row for row in cost.flops_by_part(config, training.batch_size)}
    none = cost.PartFlops("", 0, 0)
    total = cost.PartFlops("total", sum(f.forward for f in flops.values()), sum(f.training for f in flops.values()))
    print(f"Text {corpus.name}: {corpus.size:,} characters. {overlap_sentence(corpus)}.")
    print(
        f"One step: {training.batch_size} x {config.context_length} tokens. Operations are those of matrix products.\n"
    )
    print(f"{'part':<24} {'parameters':>12} {'MFLOP forward':>14} {'MFLOP training':>15}")
    rows = []
    for part in [*sorted(parameters.keys() - flops.keys()), *flops]:
        row, own = flops.get(part, none), parameters.get(part, 0)
        rows.append({"part": part, "parameters": own, "forward_flops": row.forward, "training_flops": row.training})
        print(f"{part:<24} {own:>12,} {row.forward / 1e6:>14,.1f} {row.training / 1e6:>15,.1f}")
    print(f"{'total':<24} {sum(parameters.values()):>12,} {total.forward / 1e6:>14,.1f} {total.training / 1e6:>15,.1f}")
    print(f"\n{'memory, float32':<24} {'MiB':>12}")
    memory = [
        *cost.weight_bytes_by_part(config, training.optimizer, compute.threads or 1, averaged=training.ema_decay > 0),
        *cost.activation_bytes_by_part(config, training.batch_size, compute=compute),
    ]
    for part, size in [*memory, ("total", sum(row.bytes for row in memory))]:
        print(f"{part:<24} {size / 2**20:>12,.2f}")
    text = {"name": corpus.name, "characters": corpus.size, "vocabulary": config.vocab_size}
    return CommandResult({"corpus": text, "parameters": sum(parameters.values()), "rows": rows, "memory": memory})


def profile(values: Any, argv: Sequence[str]) -> CommandResult:
    """Print where the time of a training step goes; with --out keep it, with a figure."""
    import json

    from tlab.cost import refuse_beyond_memory
    from tlab.files import write_atomically
    from tlab.profile import profile, table_lines

    profiling = ProfileConfig(**vars(values.profiling))
    corpus, config = text_and_model(values)
    training = TrainConfig(**vars(values.training))
    refuse_beyond_memory(config, training)
    result = profile(config, training, corpus, steps=profiling.profiled_steps)
    print("\n".join(table_lines(result)))
    if profiling.out is not None:
        from tlab.figures import flame_figure, save_figure

        folder = Path(profiling.out)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result.to_json(), indent=2) + "\n"
        write_atomically(folder / "profile.json", text.encode())
        figure = flame_figure(
            [(row.path, row.seconds) for row in result.rows], title="where a training step's time goes"
        )
        save_figure(figure, folder / "profile")
        print(f"saved in {folder}: profile.json, profile.png, profile.svg")
    return CommandResult(result.to_json())


def app(values: Any, argv: Sequence[str]) -> int:
    from tlab.ui.app import launch

    launch(values.models)
    return 0


def probe(argv: Sequence[str]) -> int:
    """Print the table of one probe. Each is a subcommand, with its options as flags."""
    from tlab.inside import PROBES

    commands = {
        name: Command(
            entry.summary,
            functools.partial(look_inside, entry),
            {"reading": (ReadConfig, ()), "probe": (entry.component, ())},
            folder="Folder of a run.",
            has_result=True,
        )
        for name, entry in PROBES.entries.items()
    }
    return run_command(commands, argv, "tlab probe", "Look inside a trained model: one small table per probe.")


def look_inside(entry: Entry[type[Probe]], values: Any, argv: Sequence[str]) -> CommandResult:
    from tlab.files import as_csv
    from tlab.inside import Subject
    from tlab.inside.over_time import curves, over_time
    from tlab.inside.probing import trained_on
    from tlab.inside.tables import as_text
    from tlab.machine import one_blas_thread
    from tlab.training.checkpoint import Checkpoint
    from tlab.training.snapshots import load_snapshots

    kind = entry.component
    reading, asked = ReadConfig(**vars(values.reading)), kind(**vars(values.probe))
    if reading.csv and values.output.json:
        raise ConfigError("csv and json are two forms of one table; leave out one")
    checkpoint = Checkpoint.load(values.folder)
    corpus = trained_on(checkpoint, reading.corpus) if reading.corpus is not None else None
    subject = Subject(checkpoint, reading.text or "", corpus)
    if reading.text is None:
        held_out = subject.corpus.validation[: checkpoint.model_config.context_length]
        subject = Subject(checkpoint, checkpoint.tokenizer.decode(held_out), subject.corpus)
    with one_blas_thread():  # the products are small, and on a busy machine a second thread is much slower
        if reading.over_time:
            rows = over_time(load_snapshots(values.folder), asked, subject.text, subject.given_corpus)
        else:
            rows = asked.rows(subject)
    if subject.left_out:
        print(f"note: the text has {subject.tokens_read}", file=sys.stderr)
    if reading.plot is not None:
        from tlab.figures import save_figure
        from tlab.inside.figures import over_time_figure

        drawn = curves(rows, reading.column)
        save_figure(over_time_figure(drawn, unit=kind.units.get(drawn.column, ""), title=entry.label), reading.plot)
    remark = "" if reading.over_time or reading.csv else asked.remark(subject)
    if reading.csv:
        print(as_csv(rows[0]._fields, rows), end="")
    else:
        print(entry.description, end="\n\n")
        print(as_text(rows, kind.units))
        if remark:
            print(f"\n{remark}")
    return CommandResult({"title": entry.label, "units": kind.units, "remark": remark, "rows": list(rows)})


def exercise(argv: Sequence[str]) -> int:
    from tlab.cli.exercises import run_exercise

    return run_exercise(argv)


def sweep(argv: Sequence[str]) -> int:
    from sweeps.__main__ import main

    return main(list(argv)) or 0


TEXT_AND_MODEL: dict[str, tuple[type[Config], tuple[str, ...]]] = {
    "text": (TextConfig, ()),
    "model": (ModelConfig, ("vocab_size",)),  # that is the corpus's
}
NOT_PRICED = tuple(
    options(TrainConfig).keys() - {"batch_size", "optimizer", "ema_decay"}
)  # what a step costs is the same for all
COMMANDS = {
    "train": Command(
        "Train a model, with a bar, validation and samples; Ctrl-C keeps what was learned.",
        train,
        {"run": (RunConfig, ()), **TEXT_AND_MODEL, "training": (TrainConfig, ()), "compute": (ComputeConfig, ())},
        has_result=True,
    ),
    "generate": Command(
        "Generate text from a trained model.",
        generate,
        {"sampling": (SamplingConfig, ())},
        folder="Folder of a run.",
        has_result=True,
    ),
    "import": Command(
        "Make a run of a pretrained model: GPT-2, Llama, Pythia and others, from a folder or the Hugging Face hub.",
        import_pretrained,
        {"importing": (ImportConfig, ())},
        folder="Folder with config.json and safetensors files; or OWNER/NAME of a model of the hub; or a GGUF file.",
        has_result=True,
    ),
    "export": Command(
        "Write a run for other programs: Transformers, PyTorch alone, llama.cpp, or its losses for TensorBoard.",
        export_run,
        {"exporting": (ExportConfig, ())},
        folder="Folder of a run.",
        has_result=True,
    ),
    "check": Command(
        "Check one configuration: every gradient, and what every part promises.",
        check_configuration,
        {**TEXT_AND_MODEL, "checking": (CheckConfig, ())},
        has_result=True,
    ),
    "false-winners": Command(
        "How mistakes of method find a winner between two models that are the same.",
        false_winners,
        {"contest": (FalseWinnersConfig, ())},
        has_result=True,
    ),
    "info": Command(
        "Parameters, operations and memory by part.",
        info,
        {**TEXT_AND_MODEL, "training": (TrainConfig, NOT_PRICED), "compute": (ComputeConfig, ())},
        has_result=True,
    ),
    "profile": Command(
        "Where a training step's time goes, by part, against what the processor can do.",
        profile,
        {"profiling": (ProfileConfig, ()), **TEXT_AND_MODEL, "training": (TrainConfig, ("steps", "validation_every"))},
        has_result=True,
    ),
    "app": Command(
        "Open the lab in the browser.",
        app,
        models="A model to look into in the app, beside those of TLAB_MODELS: a folder of Hugging Face, a GGUF file, a "
        "run, or OWNER/NAME of the hub. May be given several times.",
    ),
    "probe": Command("Look inside a trained model; see tlab probe --help.", run_argv=probe),
    "exercise": Command("Write a part of the lab yourself; see tlab exercise --help.", run_argv=exercise),
    "sweep": Command("Train a grid of models; see tlab sweep --help.", run_argv=sweep),
}


def run_command(commands: dict[str, Command], argv: Sequence[str], *program: str) -> int:
    """Run the subcommand that the command line names; -> exit code. `program` is its name and description in help."""
    named = commands.get(argv[0]) if argv else None
    if named is not None and named.run_argv is not None:
        return named.run_argv(argv[1:])
    command, values = parse(commands, argv, *program)
    return command.execute(values, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of `tlab`; -> exit code.

    What the user can correct (every ValueError of the core) is reported in one line. Ctrl-C and a closed pipe end
    quietly; what could not be printed otherwise makes the exit code 1.
    """
    prepare_streams()
    argv = words_typed() if argv is None else list(argv)
    try:
        with delivered_output():
            if argv == ["--version"]:
                print(f"tlab {VERSION}")
                return 0
            return run_command(COMMANDS, argv)
    except BrokenPipeError:  # `tlab generate ... | head`
        return 0
    except LostOutputError:
        return NOT_WELL
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED
    except MemoryError as error:
        print(f"error: this needs more memory than there is; make it smaller. {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
