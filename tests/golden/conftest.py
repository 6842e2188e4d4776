"""What the golden tests share."""

import pytest


@pytest.fixture
def shifted_as_then(monkeypatch):
    """Scores beyond 16 are shifted by their row's maximum, as in the first edition; now those beyond 70, for speed."""
    monkeypatch.setattr("tlab.nn.scores.softmaxes.NO_MAX_SHIFT_BELOW", 16.0)
    monkeypatch.setattr("tlab.nn.decoder.NO_MAX_SHIFT_BELOW", 60.0)
