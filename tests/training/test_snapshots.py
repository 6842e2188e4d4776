"""Snapshots of a run: which steps are kept, what is kept of each, and how they are read again."""

import dataclasses

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig
from tlab.training.checkpoint import FILE_NAME, CheckpointError
from tlab.training.snapshots import load_snapshots, save_snapshot, snapshot_steps
from tlab.training.trainer import Trainer


@pytest.fixture
def run(verse):
    """Checkpoints of a short run at three steps."""
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    trainer = Trainer(config, TrainConfig(steps=4, validation_every=0, batch_size=2), verse)
    return [trainer.checkpoint(), *(trainer.checkpoint() for record in trainer if record.step in (1, 4))]


@pytest.mark.parametrize(
    ("steps", "count", "kept"),
    [
        (1000, 5, [0, 1, 10, 100, 1000]),
        (4, 100, [0, 1, 2, 3, 4]),
        (7, 3, [0, 1, 7]),
        (7, 2, [0, 7]),
        (7, 1, [0]),
        (7, 0, []),
        (1, 9, [0, 1]),
    ],
)
def test_snapshots_are_spread_evenly_on_a_logarithmic_scale(steps, count, kept):
    assert snapshot_steps(steps, count) == kept


def test_a_snapshot_has_the_weights_and_the_last_record_alone(run, tmp_path):
    whole = run[-1]
    assert whole.optimizer_state and len(whole.records) == 4
    kept = Checkpoint.load(save_snapshot(tmp_path, whole))
    assert (kept.optimizer_state, kept.records, kept.step) == ({}, whole.records[-1:], 4)
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(kept.weights[name], array)


def test_snapshots_lie_in_a_folder_of_the_run_by_their_step(run, tmp_path):
    assert save_snapshot(tmp_path, run[1]) == tmp_path / "snapshots" / "0000001" / FILE_NAME


def test_snapshots_are_read_in_the_order_of_their_steps_however_many_digits_those_have(run, tmp_path):
    for step in (0, 9_999_999, 10_000_000, 10):
        training = TrainConfig(steps=10_000_000)
        record = run[-1].records[-1]._replace(step=step)
        moved = dataclasses.replace(run[-1], step=step, train_config=training, records=[record] if step else [])
        save_snapshot(tmp_path, moved)
    assert [snapshot.step for snapshot in load_snapshots(tmp_path)] == [0, 10, 9_999_999, 10_000_000]


def test_a_run_without_snapshots_is_told_how_to_get_some(tmp_path):
    with pytest.raises(CheckpointError, match="train with --snapshots 24"):
        list(load_snapshots(tmp_path))
