"""The interpolation threshold on loss curves whose answer is known."""

import pytest

from kanbench.training.threshold import Threshold


def threshold_epoch(losses, patience=2, tolerance=0.05):
    threshold = Threshold(patience, tolerance)
    found = [epoch for epoch, loss in enumerate(losses, start=1) if threshold.update(loss)]
    return found[-1]


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        ([3, 2, 1], 3),  # never overfits: the best of all
        ([3, 1, 1.2, 1.2, 0.5], 2),  # two epochs above the band: what comes later does not count
        ([3, 1, 1.2, 1.04, 1.2, 0.5], 6),  # a loss inside the band resets the count
        ([3, 1, 1.2, 0.9, 1.2, 0.8], 6),  # so does a new best
        ([3, 1, 1.05, 1.05, 1.05], 2),  # exactly on the band's edge is inside
        ([1, 1, 1], 1),  # the first of equals
        ([1, 2, 2, 0.1], 1),
    ],
)
def test_known_curves(losses, epoch):
    assert threshold_epoch(losses) == epoch


def test_patience_and_tolerance_are_settings():
    losses = [1, 1.2, 1.2, 0.5]
    assert threshold_epoch(losses, patience=3) == 4
    assert threshold_epoch(losses, tolerance=0.3) == 4
