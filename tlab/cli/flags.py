"""Flags of the `tlab` command, made from config dataclasses: a new field or a new part is a new choice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Union

from tlab.cli.output import CommandResult, run_and_print
from tlab.config import Config, ConfigError, Option, chosen_from, field_types, option, options
from tlab.generate import Sampling
from tlab.nn.config import ModelConfig
from tlab.pretrained.writing import EXPORTS
from tlab.text import Corpus, corpus_names, load_corpus
from tlab.text.config import TextConfig
from tlab.training.trackers import TRACKERS
from tlab.wording import did_you_mean, number

DESCRIPTION = "Transformer Intuition Lab: a transformer language model in plain NumPy, every part of it a switch."


def unnamed(config: Config, *names: str) -> list[str]:
    """Complaints about paths that are empty, as "$FOLDER" is where the variable was never set."""
    return [f"{name.rstrip('_')} is empty, and names no place; leave it out or give a path" for name in names
            if getattr(config, name) == ""]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunConfig(Config):
    """What is saved, and which run is resumed."""

    out: str | None = option(None, help="Folder for the results; by default a new one in runs/.")
    resume: str | None = option(
        None, help="Resume the run in this folder, with the same bits as if it had never stopped. Model and "
        "training settings are the run's own; --corpus is needed where it was a file."
    )  # fmt: skip
    from_: str | None = option(
        None, help="Begin with the model in this folder, of a run or imported, and not with random weights. Its "
        "settings and tokenizer are kept; text and training are chosen as for any run, and begin anew."
    )  # fmt: skip
    sample_every: int = option(250, low=0, help="Steps from one sample of text to the next; 0 for none.")
    prompt: str | None = option(None, help="Text that the samples continue; by default the start of a line.")
    snapshots: int = option(
        0, low=0, high=1000, help="Number of steps at which the weights are kept, ever further apart, "
        "for tlab probe --over-time; give it again when resuming."
    )  # fmt: skip

    log: str | None = option(
        None, help="Also note every step with a program that draws it: tensorboard, trackio, wandb or mlflow, on this "
        "machine. Its package is installed for it."
    )  # fmt: skip

    def cross_check(self) -> list[str]:
        unknown = [] if self.log is None or self.log in TRACKERS else [TRACKERS.explain(self.log)]
        return [*unnamed(self, "out", "resume", "from_"), *unknown]


@dataclasses.dataclass(frozen=True)
class SamplingConfig(Sampling):
    """How text is generated; the values are checked where they are used."""

    temperature: float = option(0.8, low=0, help=options(Sampling)["temperature"].help)
    prompt: str | None = option(None, help="Text to continue; by default the start of a line.")
    max_new_tokens: int = option(500, low=0, help="Tokens to generate.")
    seed: int = option(0, low=0, help="Same seed, same text.")
    samples: int = option(
        1, low=1, high=10_000, help="Texts to generate at once; each equals what its own seed gives alone, counting up "
        "from --seed."
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ReadConfig(Config):
    """What a probe reads, and how its table is written."""

    text: str | None = option(None, help="The text to look at; by default the beginning of the validation split.")
    corpus: str | None = option(None, help="The text that the model was trained on, where it was a file, or is "
                                "elsewhere now; it is known by its sha256.")  # fmt: skip
    csv: bool = option(False, help="Comma-separated, with every digit.")
    over_time: bool = option(False, help="The table at every snapshot of the run, which are kept when it is trained "
                             "with --snapshots.")  # fmt: skip
    plot: str | None = option(None, help="With --over-time: also draw one column by step, into this PNG or SVG file.")
    column: str | None = option(None, help="The column to draw; by default the first number that changes.")

    def cross_check(self) -> list[str]:
        complaints = unnamed(self, "plot")
        if not self.over_time and (self.plot or self.column) is not None:
            complaints.append("plot and column draw a table over time; add --over-time")
        return complaints


@dataclasses.dataclass(frozen=True)
class ImportConfig(Config):
    """Where an imported model goes, and how much it reads."""

    out: str | None = option(None, help="Folder for the model; by default a new one in runs/.")
    context_length: int | None = option(
        None, low=1, help="Tokens that the model reads at once; by default its own limit, or 2048 where that is higher."
    )  # fmt: skip

    def cross_check(self) -> list[str]:
        return unnamed(self, "out")


@dataclasses.dataclass(frozen=True)
class ExportConfig(Config):
    """For which programs a model is written, and where to."""

    to: str = chosen_from(EXPORTS, "hf", "The format.")
    out: str | None = option(None, help="Folder for the files; by default one beside the run, named after both.")

    def cross_check(self) -> list[str]:
        return unnamed(self, "out")


@dataclasses.dataclass(frozen=True)
class CheckConfig(Config):
    """What is checked besides the model as it is."""

    bug: str | None = option(None, help="A classic bug to plant first, such as no-mask, to see which check finds "
                             "it; an unknown name lists them all.")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FalseWinnersConfig(Config):
    """Which mistake is shown, and how often it is made."""

    mistake: str | None = option(None, help="A mistake to see in one contest, such as best-seed; by default a table of "
                                 "all. An unknown name lists them.")  # fmt: skip
    contest_seed: int = option(0, low=0, help="Which runs are drawn for that contest.")
    contests: int = option(400, low=1, high=100_000, help="Contests in which winners are counted.")


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Config):
    """How a step is profiled, and what is kept of it."""

    profiled_steps: int = option(
        20, low=1, help="Steps that are profiled; as many others run without timers, for comparison."
    )
    out: str | None = option(None, help="Also write profile.json, and the figure as profile.png and profile.svg, into "
        "this folder.")  # fmt: skip

    def cross_check(self) -> list[str]:
        return unnamed(self, "out")


def flags(name: str, config_class: type[Config], leave_out: Sequence[str] = ()) -> type:
    """A dataclass of the config's fields as tyro wants them, made now: with whatever is registered now."""
    import tyro

    fields = []
    for field in dataclasses.fields(config_class):
        if field.name not in leave_out:
            details = options(config_class)[field.name]
            kind: Any = field_types(config_class)[field.name]
            if details.registry is not None:
                kind = Literal[tuple(details.registry)]  # pyright: ignore[reportInvalidTypeForm]
            help = help_text(details)
            if field.name == "corpus":
                help += f" One of {', '.join(corpus_names())}, or the path of any UTF-8 text file."
            flag = field.name.rstrip("_").replace("_", "-")  # "from_", as "from" is a word of Python's own
            fields.append((field.name, Annotated[kind, tyro.conf.arg(name=flag, help=help)], field))
    return dataclasses.make_dataclass(name, [(n, k, dataclasses.field(default=f.default)) for n, k, f in fields])


def help_text(details: Option) -> str:
    limits = []
    if details.low > -math.inf:
        limits.append(f"{'at least' if details.low_is_allowed else 'more than'} {number(details.low)}")
    if details.high < math.inf:
        limits.append(f"at most {number(details.high)}")
    if details.typical:
        limits.append(f"typical: {' to '.join(map(number, details.typical))}")
    return f"{details.help} [{', '.join(limits)}]" if limits else details.help


@dataclasses.dataclass(frozen=True)
class OutputConfig(Config):
    """How a result is printed."""

    json: bool = option(False, help="Print the result as JSON, with every digit, and nothing else.")


@dataclasses.dataclass(frozen=True)
class Command:
    """One subcommand: its help, its groups of flags, and what it does. An exit code comes of both kinds of `run`."""

    help: str
    run: Callable[..., int | CommandResult] | None = None
    """Called with the values of its flags and the whole command line."""
    groups: dict[str, tuple[type[Config], tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    """Name of the group -> config, fields left out."""
    name: str | None = None  # help for a name that is given first
    folder: str | None = None  # help for a folder that is named first
    default_folder: str | None = None  # where it may be left out
    has_result: bool = False  # whether it comes to a `CommandResult`, which --json prints
    models: str | None = None  # help for --model, which may be given several times
    run_argv: Callable[[Sequence[str]], int] | None = None  # instead of `run`, where it has a command line of its own

    def execute(self, values: Any, argv: Sequence[str]) -> int:
        """Do what `run` does; with --json print the result and nothing else; -> exit code."""
        assert self.run is not None, "a command with `run_argv` is found by its name"
        return run_and_print(partial(self.run, values, argv), self.has_result and values.output.json)


def parse(
    commands: dict[str, Command], argv: Sequence[str], prog: str = "tlab", description: str = DESCRIPTION
) -> tuple[Command, Any]:
    """The subcommand and its values; prints help or what is wrong, and exits, where there is nothing to run.

    Raises:
        ConfigError: there is no such subcommand.
    """
    import tyro

    refuse_unknown_command(commands, argv, prog)

    choices, command_of = [], {}
    for name, command in commands.items():
        fields: list[Any] = [(group, flags(group, config, out)) for group, (config, out) in command.groups.items()]
        if command.has_result:
            fields.append(("output", flags("output", OutputConfig)))
        for field, help in (("name", command.name), ("folder", command.folder)):
            if help:
                positional = Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=help, metavar=field.upper())]
                fields.insert(0, (field, positional))
        if command.default_folder is not None:  # last, as a dataclass wants it
            fields.append((*fields.pop(0), dataclasses.field(default=command.default_folder)))
        if command.models:
            repeated = tyro.conf.UseAppendAction[tuple[str, ...]]
            named = tyro.conf.arg(name="model", help=command.models, metavar="NAME_OR_PATH")
            fields.append(("models", Annotated[repeated, named], dataclasses.field(default=())))
        kind = dataclasses.make_dataclass(name, fields)
        command_of[kind] = command
        choices.append(Annotated[kind, tyro.conf.subcommand(name, description=command.help)])  # pyright: ignore
    values = tyro.cli(
        Union[tuple(choices)],  # pyright: ignore  # noqa: UP007 - made at run time
        prog=prog,
        description=description,
        args=argv,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    return command_of[type(values)], values


def refuse_unknown_command(commands: Iterable[str], argv: Sequence[str], prog: str) -> None:
    """Say what there is, and what may have been meant, where the first word is no subcommand.

    Raises:
        ConfigError: it is none.
    """
    known = list(commands)
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        raise ConfigError(
            f"{prog} has no command {argv[0]!r}; it has {', '.join(known)}.{did_you_mean(argv[0], known)} "
            f"See {prog} --help"
        )


def text_and_model(values: Any) -> tuple[Corpus, ModelConfig]:
    text = TextConfig(**vars(values.text))
    corpus = load_corpus(text.corpus, text.tokenizer)
    return corpus, ModelConfig(vocab_size=corpus.tokenizer.vocab_size, **vars(values.model))
