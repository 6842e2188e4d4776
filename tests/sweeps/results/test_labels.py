"""How levels, configurations and verdicts are called where a person reads."""

import numpy as np

from sweeps.results.labels import axis_name, configuration_name, level_name, level_phrase, verdict_name
from sweeps.results.summary import BEST, Configuration
from tlab.judging.few_seeds import VERDICTS


def test_a_level_has_the_label_of_its_class_and_a_number_its_digits():
    assert level_name("norm", "rmsnorm") == level_phrase("norm", "rmsnorm") == "RMSNorm"
    assert (level_name("learning_rate", 0.003), level_phrase("learning_rate", 0.003)) == (
        "0.003",
        "learning rate 0.003",
    )
    assert (level_name("num_layers", 4), level_phrase("num_layers", 4)) == ("4", "num layers 4")


def test_a_level_that_is_no_number_and_no_class_is_said_in_words():
    assert [level_name("bias", level) for level in (True, np.False_)] == ["yes", "no"]
    assert level_phrase("tied", True) == "tied yes"
    assert [level_phrase("random_weights", level) for level in (True, False)] == ["random weights", "trained weights"]
    assert level_phrase("num_kv_heads", None) == "num kv heads as many as heads"


def test_a_level_whose_class_is_no_longer_registered_keeps_its_key():
    assert (level_name("norm", "batchnorm"), level_phrase("norm", "batchnorm")) == ("batchnorm", "norm batchnorm")


def test_a_file_is_called_by_its_name_without_its_folders():
    assert level_name("corpus", "/home/somebody/poems.txt") == "poems.txt"


def test_a_configuration_is_called_by_its_levels_and_aliases_are_joined():
    of = Configuration({"norm": ["none"], "residual": ["pre", "post"], "steps": [50]})
    assert configuration_name(of) == "no norm · Pre-LN = Post-LN · steps 50"
    assert configuration_name(Configuration({})) == "all runs"
    assert axis_name("mlp_ratio") == "mlp ratio"


def test_every_verdict_has_words_of_its_own():
    names = [verdict_name(verdict) for verdict in (*VERDICTS, BEST)]
    assert len(set(names)) == 5 and all(names)
    assert verdict_name("cannot tell") == "inconclusive"
