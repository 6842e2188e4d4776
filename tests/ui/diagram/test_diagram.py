"""The drawing and the panel of a part: complete, with the one difference lit, and in words."""

import re
from html import unescape

import pytest

from support import EVIL
from tlab.config import options
from tlab.inside import PROBES
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS, PreNorm, ResidualTrace
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.training.config import TrainConfig
from tlab.ui.diagram.drawing import RIGHTWARDS, UPWARDS, draw_sides
from tlab.ui.diagram.panel import panel_code, panel_formula, panel_html
from tlab.ui.diagram.parts import PARTS, settable
from tlab.ui.diagram.sides import sides_to_draw
from tlab.ui.diagram.sublayers import SMALL_CHARACTER
from tlab.ui.diagram.view import diagram_html
from tlab.ui.diagram.words import sentences
from tlab.ui.settings.fields import field_names, values_of
from tlab.ui.settings.plans import make_plans

BOTH = [RIGHTWARDS, UPWARDS]


def boxes(switch=None, measures=RIGHTWARDS, side=0, **settings):
    return draw_sides(sides_to_draw(make_plans(settings, switch)), measures)[side].boxes


def names(found):
    return [box.name for box in found]


def lit(switch, side, **settings):
    return [box.name for box in boxes(switch, side=side, **settings) if box.is_lit]


# ------------------------------------------------------------------------------------------------ the drawing


@pytest.mark.parametrize("measures", BOTH)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_no_two_boxes_of_a_drawing_overlap(measures, residual):
    found = boxes(measures=measures, residual=residual)
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert apart, f"{a.name} and {b.name}"


@pytest.mark.parametrize("measures", BOTH)
def test_everything_stands_within_the_picture(measures):
    for residual in RESIDUALS:
        for picture in draw_sides(sides_to_draw(make_plans({"residual": residual, "position": "alibi"})), measures):
            for box in picture.boxes:
                assert box.x >= 0 and box.y >= 0
                assert box.x + box.width <= picture.width and box.y + box.height <= picture.height


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("position", POSITIONS)
def test_a_finger_hits_each_part_of_an_upright_drawing_alone(residual, position):
    """But for positions within attention, which leave more of it than a finger needs."""
    finger = UPWARDS.finger
    found = [box for box in boxes(measures=UPWARDS, residual=residual, position=position) if box.part]
    attention = next(box for box in found if box.part == "attention")
    within = [box for box in found if attention.x < box.x < attention.x + attention.width and box.height < 20]
    assert finger >= 44 and attention.height - sum(box.target(finger).height for box in within) >= finger
    targets = [(box.name, box.target(finger)) for box in found if box not in within]
    for i, (name, a) in enumerate(targets):
        assert min(a.width, a.height) >= finger
        for other, b in targets[i + 1 :]:
            apart = (
                a.x + a.width <= b.x
                or b.x + b.width <= a.x
                or a.y + a.height <= b.y + 1e-9
                or b.y + b.height <= a.y + 1e-9
            )
            assert apart, f"{name} and {other}"


def test_rotating_positions_act_on_queries_and_keys_within_attention():
    (attention,) = [box for box in boxes(position="rope") if box.part == "attention"]
    (rotation,) = [box for box in boxes(position="rope") if box.part == "position"]
    assert attention.x < rotation.x and rotation.x + rotation.width < attention.x + attention.width
    assert rotation.name == "Positions: RoPE rotates queries and keys"


def test_a_bias_of_positions_is_added_to_the_scores():
    assert "Positions: ALiBi is added to the scores" in names(boxes(position="alibi"))


def test_a_gate_is_a_second_matrix_up():
    for activation, kind in ACTIVATIONS.items():
        (mlp,) = [box for box in boxes(activation=activation) if box.part == "mlp"]
        assert ("gate" in [cell.piece.text for cell in mlp.cells]) == kind.gated


@pytest.mark.parametrize(
    ("field", "choice"),
    [
        *(("activation", key) for key in ACTIVATIONS),
        *(("attention_softmax", key) for key in ATTENTION_SOFTMAXES),
        *(("position", key) for key in POSITIONS),
        ("attention_gate", True),
        ("value_residual", True),
    ],
)
def test_the_label_of_a_step_stands_within_it(field, choice):
    found = [
        (cell.width, len(cell.piece.text))
        for box in boxes(**{field: choice})
        for cell in box.cells
        if cell.piece.shape in ("cell", "rotation", "bias") and len(cell.piece.text) > 3
    ]
    assert found and all(characters * SMALL_CHARACTER <= width for width, characters in found)


def test_heads_blocks_and_widths_are_said():
    found = names(boxes(num_heads=8, num_layers=3, hidden_dim=32))
    assert "Attention, 8 heads of width 4" in found
    assert "3 blocks, one after another" in found
    assert "Token embedding, 32 wide" in found


class FromTheStart(PreNorm):
    """The MLP reads what attention read, too."""

    def forward(self, x, attention, mlp):
        added, first = attention(x)
        between = x + added
        added, second = mlp(x)
        y = between + added
        return y, (ResidualTrace(x, first, between), ResidualTrace(between, second, y))


def test_a_layout_that_is_registered_at_run_time_is_drawn_with_its_own_shape(register):
    register(RESIDUALS, "from-the-start", FromTheStart)
    found = boxes(residual="from-the-start", norm="none")
    (attention,) = [box for box in found if box.part == "attention"]
    (mlp,) = [box for box in found if box.part == "mlp"]
    assert attention.x < mlp.x + mlp.width and mlp.x < attention.x + attention.width  # beside each other
    assert attention.y + attention.height < mlp.y  # above the stream and below it
    words = " ".join(sentences(sides_to_draw(make_plans({"residual": "from-the-start", "norm": "none"}))[0]))
    assert words.count("reads the stream that enters the block") == 2


# ------------------------------------------------------------------------------------------------ the difference


def test_the_norms_that_stand_elsewhere_are_lit():
    assert lit(("residual", "post"), 0) == [
        "LayerNorm before attention", "LayerNorm before the MLP", "LayerNorm before the unembedding"
    ]  # fmt: skip
    assert lit(("residual", "post"), 1) == ["LayerNorm of the sum", "LayerNorm of the sum"]


def test_where_norms_stand_alike_the_sublayer_that_reads_something_else_is_lit(register):
    register(RESIDUALS, "from-the-start", FromTheStart)
    for side in (0, 1):
        (name,) = lit(("residual", "from-the-start"), side)
        assert name.startswith("MLP")


def another(name):
    """A value of this field that is not the default."""
    config = ModelConfig if name in options(ModelConfig) else TrainConfig
    value, registry = default_values()[name], options(config)[name].registry
    if registry is not None:
        return next(key for key in registry if key != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 or min(1.0, options(config)[name].high)
    return 2 * value if value else max(int(value == 0), options(config)[name].low)


def default_values():
    (plan,) = make_plans({})
    return values_of(plan.model, plan.training)


def test_positions_are_lit_where_each_side_has_them():
    assert lit(("position", "rope"), 0) == ["Positions: sinusoidal, added to the embeddings"]
    assert lit(("position", "rope"), 1) == ["Positions: RoPE rotates queries and keys"]


class MlpFirst(PreNorm):
    """The sublayers in the other order."""

    def forward(self, x, attention, mlp):
        added, second = mlp(x)
        between = x + added
        added, first = attention(between)
        y = between + added
        return y, (ResidualTrace(x, first, between), ResidualTrace(between, second, y))


def test_sublayers_in_another_order_are_lit_and_drawn_so(register):
    register(RESIDUALS, "mlp-first", MlpFirst)
    for side in (0, 1):
        assert {name.partition(",")[0] for name in lit(("residual", "mlp-first"), side)} == {"Attention", "MLP"}
    (attention,) = [box for box in boxes(residual="mlp-first") if box.part == "attention"]
    (mlp,) = [box for box in boxes(residual="mlp-first") if box.part == "mlp"]
    assert mlp.x + mlp.width < attention.x


class Again(PreNorm):
    """Adds what entered once more, at the end."""

    def forward(self, x, attention, mlp):
        added, first = attention(x)
        between = x + added
        added, second = mlp(between)
        y = between + added + x
        return y, (ResidualTrace(x, first, between), ResidualTrace(between, second, y))


def test_a_wire_past_the_stream_has_a_lane_of_its_own_and_is_lit_with_its_sum(register):
    register(RESIDUALS, "again", Again)
    a, b = draw_sides(sides_to_draw(make_plans({}, ("residual", "again"))), RIGHTWARDS)
    assert b.height > a.height
    assert [line.kind for line in b.lines if line.is_lit and line.kind == "wire"] == ["wire"]
    assert len([box for box in b.boxes if box.is_lit]) == 1
    assert not [box for box in a.boxes if box.is_lit]


@pytest.mark.parametrize("name", field_names())
def test_any_one_difference_is_lit_on_both_sides(name):
    assert lit((name, another(name)), 0)
    assert lit((name, another(name)), 1)


def test_one_run_alone_has_nothing_lit():
    assert not [box for box in boxes() if box.is_lit]


# ------------------------------------------------------------------------------------------------ parts and words


def test_every_setting_belongs_to_a_part():
    assert set(field_names()) == {name for part in PARTS.values() for name in settable(part)}


@pytest.mark.parametrize("key", PARTS)
def test_every_part_is_in_the_drawing_and_has_a_switch_and_code_or_a_formula(key):
    plans = make_plans({})
    assert key in {box.part for box in boxes()}
    shown = panel_html(key, plans)
    assert f'data-field="{PARTS[key].fields[0]}"' in shown
    assert panel_formula(key, plans) or "<pre" in panel_code(key, plans)


@pytest.mark.parametrize("key", PROBES)
def test_every_probe_is_reached_from_a_part_that_it_looks_at(key):
    parts = PROBES[key].looks_at
    assert parts
    assert all(f'data-probe="{key}"' in panel_html(part, make_plans({})) for part in parts)


def test_the_panel_offers_the_choices_and_marks_that_of_a():
    shown = panel_html("norm", make_plans({}, ("norm", "rmsnorm")))
    pressed = re.findall(r'data-value="(\w+)" aria-pressed="true"', shown)
    assert pressed == ["layernorm"]
    assert "RMSNorm" in shown.partition("tl-d-other")[2]


@pytest.mark.parametrize(
    ("part", "switch", "first"),
    [
        ("norm", ("residual", "post"), "residual"),
        ("norm", ("norm", "rmsnorm"), "norm"),
        ("mlp", ("residual", "post"), "activation"),  # it is not lit
        ("training", ("steps", 20), "steps"),
        ("norm", None, "norm"),
    ],
)
def test_the_panel_of_a_lit_part_begins_with_the_switch_that_differs(part, switch, first):
    fields = re.findall(r'data-field="(\w+)"', panel_html(part, make_plans({}, switch)))
    assert fields[0] == first and len(set(fields)) == len(fields)
    assert PARTS[part].fields[0] in fields


def test_the_code_of_the_panel_is_that_of_the_class_that_runs():
    text = unescape(re.sub(r"<[^>]+>", "", panel_code("norm", make_plans({"norm": "rmsnorm"}))))
    assert "RMSNorm: forward" in text
    assert "def forward(self, x: Array)" in text


def test_formulas_of_a_and_b_stand_together_where_they_differ():
    shown = panel_formula("stream", make_plans({}, ("residual", "post")))
    assert shown.startswith("A: ") and "\n\nB: " in shown


def test_a_label_is_shown_and_not_obeyed():
    RESIDUALS.add("evil", label=EVIL)(type("Evil", (PreNorm,), {}))
    try:
        shown = [
            panel_html("stream", make_plans({"residual": "evil"})),
            diagram_html(make_plans({}, ("residual", "evil"))),
        ]
    finally:
        RESIDUALS.remove("evil")
    assert all("<img" not in html and "&lt;img" in html for html in shown)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"residual": "pre"}, "attention (4 heads) reads LayerNorm of the stream that enters the block."),
        ({"residual": "pre"}, "A final LayerNorm stands after the last block."),
        ({"residual": "post"}, "The sum is normed (LayerNorm), and so the stream goes on."),
        ({"residual": "post"}, "No norm stands after the last block."),
        ({"residual": "sandwich"}, "LayerNorm of what attention made is added to the stream."),
        ({"norm": "none"}, "attention (4 heads) reads the stream that enters the block."),
        ({"position": "rope"}, "Positions (RoPE) rotate the queries and keys within attention."),
        ({"position": "none"}, "There are no positions"),
        ({"activation": "swiglu"}, "The MLP (gated, SwiGLU"),
        ({"num_kv_heads": 2}, "attention (4 heads, which share 2 heads of keys and values) reads"),
        ({"num_kv_heads": 4}, "attention (4 heads) reads"),
        ({"qk_norm": "rmsnorm", "score_cap": 50.0}, "(4 heads, queries and keys normed, scores capped at 50) reads"),
        ({"qk_norm": "rmsnorm", "qk_norm_all_heads": True}, "(4 heads, queries and keys normed over all heads) reads"),
        ({"qk_norm_all_heads": True}, "attention (4 heads) reads"),
        ({"attention_softmax": "sink"}, "attention (4 heads, softmax, sink) reads"),
        ({"value_residual": True}, "(4 heads, from the second block on with the first block's values mixed in) reads"),
        ({"attention_gate": True}, "attention (4 heads, what they collect gated) reads"),
    ],
)
def test_the_same_is_said_in_words(settings, words):
    (side,) = sides_to_draw(make_plans(settings))
    assert words in " ".join(sentences(side))


def test_the_page_has_each_drawing_twice_and_the_words_once():
    shown = diagram_html(make_plans({}, ("residual", "post")))
    assert shown.count('role="toolbar"') == 4
    assert shown.count("<ol>") == 2
    assert "One difference, lit: residual, Pre-LN in A and Post-LN in B." in shown


def test_the_scale_in_the_formula_of_the_embedding_is_told_of_beside_it():
    plans = make_plans({})
    assert r"s\,E[t]" in panel_formula("embedding", plans)
    assert "multiplies by the embedding scale s" in panel_html("embedding", plans)
    assert "self.config.embedding_scale" in unescape(re.sub(r"<[^>]+>", "", panel_code("embedding", plans)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("qk_norm", "rmsnorm", r"\hat Q, \hat K = \mathrm{norm}(Q), \mathrm{norm}(K)"),
        ("score_cap", 50.0, r"50 \tanh"),
        ("attention_gate", True, r"\odot \sigma(h\,W_\mathrm{gate})"),
        ("value_residual", True, r"\hat V = (1 - \lambda)\,V + \lambda\,V_1"),
        *(("attention_softmax", name, ATTENTION_SOFTMAXES.entries[name].formula) for name in ("plus_one", "sink")),
    ],
)
def test_the_formula_of_attention_has_what_is_chosen_on_the_way(field, value, says):
    plain, shown = (panel_formula("attention", make_plans(settings)) for settings in ({}, {field: value}))
    assert says in shown and says not in plain
