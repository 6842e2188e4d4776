"""The form shows what the chosen parts read, and loses nothing of what it hides."""

import gradio as gr
import pytest

from support import GRADIO
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.schedules import SCHEDULES
from tlab.ui.runs.limits import LOCAL
from tlab.ui.settings.controls import Controls
from tlab.ui.settings.fields import field_names, is_read, readers_of
from tlab.ui.settings.side_b import NOTHING

pytestmark = GRADIO
ADAM = ("beta1", "beta2", "epsilon", "weight_decay")


@pytest.fixture(autouse=True)
def stated_options(monkeypatch):
    """Optimizers and schedules that state what they read."""
    for key, kind in OPTIMIZERS.items():
        monkeypatch.setattr(kind, "options", ("momentum", "weight_decay") if key == "sgd" else ADAM, raising=False)
    for key, kind in SCHEDULES.items():
        monkeypatch.setattr(kind, "options", () if key == "constant" else ("min_learning_rate",), raising=False)


def form(settings=None, switch=None) -> Controls:
    with gr.Blocks(analytics_enabled=False):
        made = Controls(settings or {}, switch, LOCAL.text)
        made.build()
        made.connect()
    return made


def visible(made: Controls, **given) -> dict[str, bool]:
    """What the handler answers when these parts and this change of B are chosen."""
    parts = {slot: given.get(slot, made.opening(slot)) for slot in made.slots()}
    shown = made.on_parts(given.get("switch", NOTHING), given.get("choice"), *parts.values())
    return {name: update["visible"] for name, update in zip(readers(), shown, strict=True)}


def readers() -> list[str]:
    return [name for name in field_names() if readers_of(name)]


def test_a_page_opens_with_what_its_optimizer_reads():
    made = form()
    assert not made.components["momentum"].visible and made.components["beta1"].visible
    made = form({"optimizer": "sgd"})
    assert made.components["momentum"].visible and not made.components["beta1"].visible
    assert made.components["weight_decay"].visible and made.components["steps"].visible


def test_choosing_another_part_shows_what_it_reads():
    made = form()
    assert visible(made).items() >= ({"min_learning_rate": True, "momentum": False} | dict.fromkeys(ADAM, True)).items()
    assert visible(made, optimizer="sgd")["momentum"] and not visible(made, optimizer="sgd")["beta2"]
    assert not visible(made, schedule="constant")["min_learning_rate"]


def test_what_only_side_b_reads_is_shown_too():
    made = form(switch=("optimizer", "sgd"))
    assert made.components["momentum"].visible and made.components["beta1"].visible
    assert visible(made, switch="optimizer", choice="sgd")["momentum"]
    assert visible(made, switch="momentum")["momentum"]


def test_a_hidden_field_keeps_its_value_and_goes_into_the_run():
    made = form({"momentum": 0.5})
    assert not made.components["momentum"].visible
    (plan,) = made.job([component.value for component in made.inputs]).plans
    assert (plan.training.optimizer, plan.training.momentum) == ("adamw", 0.5)


def test_a_field_that_no_part_states_is_always_read():
    assert readers_of("steps") == {} and is_read("steps", [])
    assert readers_of("momentum") == {"optimizer": {"sgd"}}
