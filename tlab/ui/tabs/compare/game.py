"""A game below the runs of the session: two curves, who wins? Then what really differed, and the mistake."""

from __future__ import annotations

import html
import random
from typing import Any, NamedTuple

import gradio as gr

from tlab.false_winners.mistakes import (
    CONTESTANTS,
    CONTESTS,
    MISTAKES,
    NEITHER,
    Contest,
    Reading,
    drawn_contest,
    winner_shares,
)
from tlab.false_winners.stored_runs import stored_runs
from tlab.ui.listening import QUIET
from tlab.ui.tabs.tab import Updates
from tlab.ui.widgets.line_chart import line, lines_chart, lines_value

QUESTION = "Two models, several seeds each. Trained and judged alike, which would be better?"
BEFORE_THE_GAME = (
    "Eight pairs of models, each with its curves and with what the lab's own test says of them. Say who is better; "
    "then you are told how the two were trained and compared."
)


class Round(NamedTuple):
    """One contest of the game."""

    mistake: str  # a key of `MISTAKES`
    seed: int  # of the runs that are drawn

    @property
    def contest(self) -> Contest:
        """What is looked at."""
        return drawn_contest(self.mistake, self.seed)


class FalseWinnersGame:
    """Builds the fold and holds its handlers."""

    def build(self) -> None:
        self.fold = gr.Accordion("Who wins? A game of eight comparisons", open=False, elem_id="false-winners")
        with self.fold:
            self.left = gr.State([])  # the rounds that are still to come
            self.round = gr.State(None)
            self.played = gr.State([])  # the rounds of this page, each with its guess, as tuples
            with gr.Row(equal_height=False):
                with gr.Column(scale=5, min_width=320):
                    self.words = gr.Markdown(BEFORE_THE_GAME, elem_id="false-winners-words")
                    with gr.Row(elem_classes="tl-buttons"):
                        self.guesses = [gr.Button(name, visible=False) for name in (*CONTESTANTS, NEITHER)]
                    self.next = gr.Button("Show me two curves", variant="primary", elem_id="false-winners-next")
                with gr.Column(scale=7, min_width=320):
                    self.chart = lines_chart(no_curves(), "false-winners-chart")
        drawn = [self.left, self.round, self.words, self.chart, self.next, *self.guesses]
        self.next.click(self.on_next, self.left, drawn, **QUIET)
        for button, name in zip(self.guesses, (*CONTESTANTS, NEITHER), strict=True):
            button.click(
                lambda asked, played, name=name: self.on_guess(asked, name, played),
                [self.round, self.played],
                [self.words, self.next, self.played, *self.guesses],
                **QUIET,
            )

    def on_next(self, left: list[Round]) -> Updates:
        """Another mistake, until each was made once; then all of them again with other runs."""
        others, asked = self.next_round(left)
        reading = asked.contest.mistaken
        return {
            self.left: others,
            self.round: asked,
            self.words: f"**{QUESTION}** Of these losses the lab's own test says: {reading.words}",
            self.chart: contest_curves(reading),
            self.next: gr.update(visible=False),
            **{button: gr.update(visible=True) for button in self.guesses},
        }

    def next_round(self, left: list[Round]) -> tuple[list[Round], Round]:
        """What is to come after the next one, and that."""
        asked, *others = left or random.sample(
            [Round(mistake, random.randrange(CONTESTS)) for mistake in MISTAKES], len(MISTAKES)
        )
        return others, asked

    def on_guess(self, asked: Round | None, guess: str, played: list[tuple[str, int, str]]) -> Updates:
        """What it was."""
        return {
            self.played: played if asked is None else [*played, (*asked, guess)],
            self.words: BEFORE_THE_GAME if asked is None else answer_words(asked, guess),
            self.next: gr.update(value="Show me two others", visible=True),
            **{button: gr.update(visible=False) for button in self.guesses},
        }


def answer_words(asked: Round, guess: str) -> str:
    """What differed, the mistake, what it does in general, and the same runs without it. As Markdown."""
    entry, shares = MISTAKES.entries[asked.mistake], winner_shares(asked.mistake)
    mistake = entry.component
    right = "Right" if guess == mistake.better else "No"
    better = mistake.better.lower() if mistake.better == NEITHER else mistake.better
    story = " ".join(entry.description.split())
    return (
        f"**{right}: {better} would be better.** Said to differ: {mistake.claimed}. What really differs, besides their "
        f"seeds: {html.escape(mistake.really)}.\n\n"
        f"The mistake: {entry.label}. {html.escape(story)}\n\n"
        f"Without the mistake: {asked.contest.honest.words}\n\n"
        f"In {CONTESTS} such contests the mistake finds a winner in {shares.mistaken:.1%}, the honest method in "
        f"{shares.honest:.1%}.\n\n*{html.escape(entry.source)}*"
    )


def no_curves() -> dict[str, Any]:
    return lines_value("Loss of A and B", "nats per token", [], "no curves yet")


def contest_curves(reading: Reading) -> dict[str, Any]:
    """Both mean curves, as somebody shows them."""
    lines = []
    for place, (name, shown) in enumerate(zip(CONTESTANTS, (reading.a, reading.b), strict=True)):
        points = zip(stored_runs().steps, shown.curve.tolist(), strict=True)
        lines.append(line(name, place, [[float(step), loss] for step, loss in points]))
    return lines_value("Loss of A and B", reading.unit, lines, "no curves")
