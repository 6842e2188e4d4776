"""The Attention tab: which tokens each head looks at, in a text of one's own."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from tlab.checkpoint import Checkpoint
from tlab.nn.model import Trace
from tlab.probes import HeadStatistics, attention_statistics, attention_targets, row_entropies
from tlab.types import Array, Ids
from tlab.ui.demo import EXCERPT, demo_checkpoint
from tlab.ui.parts import attention_map, map_value, note_html, refusal, words_html
from tlab.ui.run import Run
from tlab.ui.runs import Runs, latest_checkpoint
from tlab.ui.train_tab import QUIET

MAX_TOKENS = 128  # more are no readable map, whatever the context
LEAST_FAVOURITE = 0.3  # share of a head's weight from which on a place counts as what it looks at


class AttentionTab:
    """Builds the tab and holds its handlers."""

    def __init__(self, runs: Runs, run_id: gr.State) -> None:
        self.runs = runs
        self.run_id = run_id

    def build(self, tab: gr.Tab) -> None:
        """Lay it out with the head of the shipped model that is surest where to look, and connect it."""
        checkpoint = demo_checkpoint()
        config = checkpoint.model_config
        layer, head = surest_head(checkpoint, EXCERPT)
        chart, words, table, note = self.look(checkpoint, None, EXCERPT, layer, head)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.text = gr.Textbox(EXCERPT, label="Text to read", lines=2, max_lines=5, elem_id="attention-text")
                with gr.Group():
                    self.layer = gr.Radio(numbers(config.num_layers), value=layer + 1, label="Layer", elem_id="layer")
                    self.head = gr.Radio(numbers(config.num_heads), value=head + 1, label="Head", elem_id="head")
                self.words = gr.HTML(words, elem_id="attention-words", apply_default_css=False)
                self.table = gr.HTML(table, elem_id="attention-heads", apply_default_css=False)
                self.note = gr.HTML(note, elem_id="attention-note", apply_default_css=False)
            with gr.Column(scale=7, min_width=320, elem_classes="tl-side"):
                self.map = attention_map(chart)
        inputs = [self.run_id, self.text, self.layer, self.head]
        outputs = [self.map, self.words, self.table, self.note]
        for component in (self.layer, self.head):
            component.input(self.on_look, inputs, outputs, trigger_mode="always_last", **QUIET)
        # Not "input", which is for typed keys only: pasted and deleted text counts as well.
        self.text.change(self.on_look, inputs, outputs, trigger_mode="always_last", **QUIET)
        tab.select(self.on_open, inputs, [self.text, self.layer, self.head, *outputs], **QUIET)

    def on_look(self, run_id: str | None, text: str | None, layer: int | None, head: int | None) -> list[Any]:
        """The map of this head."""
        checkpoint, run = latest_checkpoint(self.runs, run_id)
        try:
            return self.look(checkpoint, run, text or "", (layer or 1) - 1, (head or 1) - 1)
        except ValueError as error:
            raise refusal(error) from None

    def on_open(self, run_id: str | None, text: str | None, layer: int | None, head: int | None) -> list[Any]:
        """The tab comes into view: there may be a new model, of another size and with another alphabet."""
        checkpoint, run = latest_checkpoint(self.runs, run_id)
        config = checkpoint.model_config
        read = readable_text(checkpoint, text or "", run.excerpt if run else EXCERPT)
        layer, head = min(layer or 1, config.num_layers), min(head or 1, config.num_heads)
        return [
            gr.skip() if read == text else read,  # what a visitor has typed since then must not be covered
            gr.update(choices=numbers(config.num_layers), value=layer),
            gr.update(choices=numbers(config.num_heads), value=head),
            *self.look(checkpoint, run, read, layer - 1, head - 1),
        ]

    def look(self, checkpoint: Checkpoint, run: Run | None, text: str, layer: int, head: int) -> list[Any]:
        """Map, words, table of all heads, and what was looked at."""
        tokenizer, config = checkpoint.tokenizer, checkpoint.model_config
        layer, head = min(max(layer, 0), config.num_layers - 1), min(max(head, 0), config.num_heads - 1)
        ids = tokenizer.encode(text)
        if len(ids) < 2:
            raise ValueError("Give at least two characters to look at.")
        length = min(config.context_length, MAX_TOKENS)
        read = ids[:length]
        _, trace = checkpoint.model().forward(read[None])
        tokens = [tokenizer.tokens[i] for i in read]
        weights = trace.blocks[layer].attention.weights[0, head]  # (T, T)
        rows = attention_statistics(trace)
        words = head_words(weights, read, layer, head)
        whose = "the shipped run" if run is None else f"your run on “{run.job.corpus}”"
        note = f"The model is that of {whose}, after {checkpoint.step:,} steps."
        if len(ids) > length:
            note += f" It reads the first {length} of the {len(ids)} tokens."
        alternative = f"Attention map of layer {layer + 1}, head {head + 1}, over {len(tokens)} tokens. {words}"
        return [map_value(tokens, weights, alternative), words_html(words), heads_table(rows, trace, layer, head),
                note_html(note)]  # fmt: skip


def surest_head(checkpoint: Checkpoint, text: str) -> tuple[int, int]:
    """Layer and head, from 0, of least entropy."""
    _, trace = checkpoint.model().forward(checkpoint.tokenizer.encode(text)[None])
    best = min(attention_statistics(trace), key=lambda row: row.entropy)
    return best.layer, best.head


def numbers(count: int) -> list[int]:
    """1 to count, as people count layers and heads."""
    return list(range(1, count + 1))


def readable_text(checkpoint: Checkpoint, text: str, otherwise: str) -> str:
    """`text` where this model knows its characters; else a text that it does know."""
    for candidate in (text, otherwise):
        try:
            if len(checkpoint.tokenizer.encode(candidate)) >= 2:
                return candidate
        except ValueError:
            continue
    return checkpoint.tokenizer.decode(np.arange(min(32, checkpoint.model_config.vocab_size)))


TARGET_WORDS = {
    "previous": "the token before",
    "itself": "the token itself",
    "first": "the very first token",
    "same": "earlier copies of the same token",
    "induction": "what followed an earlier copy of the token, as an induction head does",
    "near": "the three to eight tokens before",
}


def head_words(weights: Array, ids: Ids, layer: int, head: int) -> str:
    """What this head mostly does in this text, by where its weights (T, T) lie."""
    shares = attention_targets(weights, ids)
    name, share = max(shares.items(), key=lambda item: item[1])
    if share < LEAST_FAVOURITE:
        spread = np.exp(np.mean(row_entropies(weights)))
        return (
            f"Head {head + 1} of layer {layer + 1} has no single favourite here: its weight is spread as if "
            f"over {spread:.0f} tokens."
        )
    return f"Head {head + 1} of layer {layer + 1} looks at {TARGET_WORDS[name]}: {share:.0%} of its weight goes there."


def heads_table(rows: list[HeadStatistics], trace: Trace, layer: int, head: int) -> str:
    """Entropy and distance of every head; both bars are as long as this text allows."""
    T = trace.ids.shape[1]
    most_entropy = max(float(np.log(np.arange(1, T + 1)).mean()), 1e-9)  # of a head that looks at all alike
    most_distance = max((T - 1) / 2, 1e-9)  # of one that always looks at the first
    lines = []
    for row in rows:
        chosen = ' class="tl-chosen"' if (row.layer, row.head) == (layer, head) else ""
        entropy, distance = 60 * row.entropy / most_entropy, 60 * row.distance / most_distance
        lines.append(
            f"<tr{chosen}><td>{row.layer + 1}.{row.head + 1}</td>"
            f'<td><i class="tl-bar" style="width:{entropy:.0f}px"></i>{row.entropy:.2f}</td>'
            f'<td><i class="tl-bar" style="width:{distance:.0f}px"></i>{row.distance:.1f}</td></tr>'
        )
    return (
        '<div class="tl-card tl-heads" tabindex="0" aria-label="All heads"><table>'
        "<thead><tr><th>Head</th><th>Entropy, nats</th><th>Distance, tokens</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
