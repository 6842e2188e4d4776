"""Links that carry settings: `?norm=rmsnorm&steps=300&b.norm=none&hide=seed`.

A link holds only what differs from the defaults, so that it stays short and can be typed. `b.` before a name makes it
the one setting that side B changes; `hide` lists settings that the page does not show, for use in class; `result` names
a finished run of these settings, which the page opens with if the server still has it. Whatever arrives is checked like
anything else that a visitor sends: what is wrong is reported, and the rest of the link is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tlab.config import ConfigError, as_plain, options
from tlab.nn.config import ModelConfig
from tlab.text import DEFAULT_CORPUS, TOKENIZERS, corpus_names
from tlab.training.config import TrainConfig
from tlab.ui.settings.fields import (
    FROM_CORPUS,
    RANDOM,
    START_FROM,
    config_of,
    control_range,
    default_of,
    field_names,
    kinds_of,
)
from tlab.ui.settings.plans import fields_in

OTHER, HIDE, HIDE_ENDING, RESULT = "b.", "hide", "_hide", "result"
WEIGHTS_NOT_SENT = "own-weights"  # the same, of weights that are not among those that come with the lab
COMES_ALONG = "shipped: "  # before the names of those that do
OWN_TEXT_NOT_SENT = "own-text"  # in place of a text that its owner alone has: whoever opens the link is told so
MAX_PROBLEMS = 4  # in one message; a link that is all wrong need not be reported in full
MAX_CHARACTERS = 60  # of a value; keys and numbers are shorter
FOREIGN = ("__", "fbclid", "gclid", "utm_", "view", "session_hash", "deep_link", "logs")
"""Prefixes of names that Gradio, a Space's frame or sites that share links add to an address."""
HEAD_LINK = ("model", "side", "after", "layer", "head", "text")  # of what the Attention tab keeps there
OTHER_NAMES = ("lesson", "step", "teach", "class", *HEAD_LINK)  # and of what lessons and classes keep there


class Link(NamedTuple):
    """What a link sets, after all checks."""

    settings: dict[str, Any]  # name of the control -> value, for those in the link
    other: dict[str, Any]  # the same for side B, where it differs
    hidden: list[str]  # names of controls that are not shown
    problems: list[str]  # what was wrong, for the visitor; plain text, to be escaped


def defaults() -> dict[str, Any]:
    """Every setting that a link can carry, with its default. A visitor's own text is not one of them."""
    fields = {name: default_of(name) for name in field_names()}
    return {"corpus": DEFAULT_CORPUS, "tokenizer": next(iter(TOKENIZERS)), START_FROM: RANDOM, **fields}


# ------------------------------------------------------------------------------------------------ out


def query_of(
    settings: Mapping[str, Any],
    other: Mapping[str, Any] | None = None,
    hidden: Sequence[str] = (),
    result: str | None = None,
) -> str:
    """The query string, without its question mark, that `read_query` turns back into these settings.

    Defaults, and what a link cannot carry, are left out.
    """
    usual = defaults()
    full = {**usual, **{name: value for name, value in settings.items() if name in usual}}
    pairs = [(name, as_sent(name, value)) for name, value in full.items() if value != usual[name]]
    for name, value in (other or {}).items():
        if name in usual and value != full[name]:
            pairs.append((OTHER + name, as_sent(name, value)))
    if hidden:
        pairs.append((HIDE, ",".join(hidden)))
    if result:
        pairs.append((RESULT, result))
    # A page without a link opens with a preset, so a link to the defaults has to say so.
    pairs = pairs or [("corpus", usual["corpus"])]
    return urlencode(pairs, safe=",")


def as_sent(name: str, value: Any) -> str:
    """A value of a setting as text in a link; of a visitor's own weights only that they are not in it."""
    is_own = name == START_FROM and value != RANDOM and not value.startswith(COMES_ALONG)
    return WEIGHTS_NOT_SENT if is_own else as_word(value)


def as_word(value: Any) -> str:
    """A value as text in a link; a float in the fewest digits that give the same float again."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------------------------------------ in


def read_query(query: Mapping[str, str]) -> Link:
    """What the query of an address sets. It never raises: what is wrong becomes one of the `problems`."""
    link = Link({}, {}, [], [])
    for given, word in query.items():
        if given.startswith(FOREIGN) or given in (RESULT, *OTHER_NAMES):
            continue
        try:
            read_pair(link, str(given), str(word))
        except ValueError as error:
            link.problems.append(str(error))
    if len(link.other) > 1:
        kept, *rest = link.other
        link.problems.append(f"side B can change one setting alone: “{kept}” it is, and not {', '.join(rest)}")
        for name in rest:
            del link.other[name]
    for side, values in (("", link.settings), ("side B: ", {**link.settings, **link.other})):
        if not link.problems and (not side or link.other):
            link.problems.extend(side + complaint for complaint in complaints(values))
    if len(link.problems) > MAX_PROBLEMS:
        rest = len(link.problems) - MAX_PROBLEMS
        link.problems[MAX_PROBLEMS:] = [f"and {rest} more"]
    return link


def read_pair(link: Link, given: str, word: str) -> None:
    """Add one name and its value to the link.

    Raises:
        ValueError: there is no setting of this name, or it cannot have this value.
    """
    if given == HIDE:
        link.hidden.extend(known(name.strip()) for name in word[:1000].split(",") if name.strip())
    elif given.endswith(HIDE_ENDING):
        if read_word("bias", word):  # any field that is true or false
            link.hidden.append(known(given.removesuffix(HIDE_ENDING)))
    elif given.startswith(OTHER):
        name = known(given.removeprefix(OTHER))
        if name not in (*field_names(), START_FROM):
            raise ValueError(f"{name} is the same for both sides, so that they can be compared")
        link.other[name] = read_word(name, word)
    else:
        name = known(given)
        value = read_word(name, word)
        complaint = control_complaint(name, value)
        if complaint:
            raise ValueError(f"{name} = “{word}”: {complaint}")
        link.settings[name] = value


def known(name: str) -> str:
    """`name`, if it is that of a setting.

    Raises:
        ValueError: it is not.
    """
    usual = defaults()
    if name in usual:
        return name
    close = difflib.get_close_matches(name, usual, n=1)
    hint = f" Did you mean “{close[0]}”?" if close else ""
    raise ValueError(f"there is no setting called “{name[:MAX_CHARACTERS]}”.{hint}")


def read_word(name: str, word: str) -> Any:
    """The value of a setting, from the text in a link.

    Raises:
        ValueError: it is not of the setting's type, or out of range.
    """
    if len(word) > MAX_CHARACTERS:
        raise ValueError(f"{name}: the value has {len(word)} characters, more than any setting")
    if name == "corpus" and word == OWN_TEXT_NOT_SENT:
        raise ValueError(
            f"the text is not in it, as whoever made it has one of their own. Here it is “{DEFAULT_CORPUS}”, and "
            "losses of two texts cannot be compared"
        )
    if name == START_FROM:
        if word == WEIGHTS_NOT_SENT:
            raise ValueError(
                "the weights to start from are not in it, as they are of a run of whoever made it. Here it is random "
                "weights"
            )
        if word != RANDOM and not word.startswith(COMES_ALONG):
            raise ValueError(f"{name} = “{word}”: a link names only weights that come with the lab")
        return word
    if name == "corpus":
        if word not in corpus_names():  # a name, never a path
            raise ValueError(f"there is no text called “{word}” here; there are {', '.join(corpus_names())}")
        return word
    if name == "tokenizer":
        if word not in TOKENIZERS:
            raise ValueError(TOKENIZERS.explain(word))
        return word
    value: Any = None
    try:
        value = as_plain(config_of(name).parse(name, word), kinds_of(name))
        complaint = options(config_of(name))[name].complaint(value)
    except (TypeError, OverflowError) as error:
        complaint = str(error)
    if complaint:
        raise ValueError(f"{name} = “{word}”: {complaint}")
    return value


def control_complaint(name: str, value: Any) -> str | None:
    """Why the page's control cannot have this value, or None.

    A link never lets its visitor choose more than the page does. Less is harmless: "?steps=5" is a quick look.
    """
    if type(value) not in (int, float) or value <= control_range(name)[1]:
        return None
    return f"the page has at most {control_range(name)[1]:g}"


def complaints(settings: Mapping[str, Any]) -> list[str]:
    """Settings that do not fit together, although each of them is allowed."""
    found = []
    for config_class, given in ((ModelConfig, {FROM_CORPUS: 256}), (TrainConfig, {})):
        try:
            config_class.from_json({**given, **fields_in(config_class, settings)})
        except ConfigError as error:
            found.append(str(error))
    return found
