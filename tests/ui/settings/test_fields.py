"""What a control holds becomes the value of its field, or is refused in words."""

import pytest

from support import GRADIO
from tlab.config import ConfigError
from tlab.ui.settings.fields import field_value, kinds_of
from tlab.ui.settings.side_b import fields_of

pytestmark = GRADIO


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [("seed", 3, 3), ("seed", 3.0, 3), ("learning_rate", 0.003, 0.003), ("data_seed", "", None)],
)
def test_a_number_is_taken_as_its_field_has_it(name, given, value):
    taken = field_value(name, given, kinds_of(name))
    assert taken == value and type(taken) is type(value)


@pytest.mark.parametrize(("name", "given"), [("seed", 1.5), ("steps", 50.5), ("data_seed", "1.5"), ("num_layers", 2.5)])
def test_a_number_that_has_to_be_whole_is_refused_and_never_rounded(name, given):
    with pytest.raises(ConfigError, match=r"is '?\d+\.5'?: it must be a whole number"):
        field_value(name, given, kinds_of(name))


def test_all_fields_of_the_settings_are_taken_so():
    with pytest.raises(ConfigError, match=r"“Seed” is 1\.5: it must be a whole number"):
        fields_of({"seed": 1.5})
