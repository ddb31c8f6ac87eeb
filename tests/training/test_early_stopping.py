"""When trainings end early."""

import pytest

from kanbench.training.early_stopping import make_stop_rule


def ends(rule, rows):
    """The epoch after which the rule ends a training."""
    return next((row["epoch"] for row, last in rows if rule.update(row, last)), None)


def losses(name, values, epochs_per_stage=1, every=1):
    return [({"epoch": every * i, name: value}, i % epochs_per_stage == 0) for i, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "every", "end"),
    [
        ([8, 4, 2, 1], 1, None),
        ([8, 4, 4, 4, 4, 4], 1, 5),  # 3 epochs after the last that was better
        ([8, 4, 4, 3.9, 3.5, 3.5, 3.4, 3.1], 1, None),  # slowly, but by a tenth every time
        ([8, 4, 3.9, 3.8, 3.7], 1, 5),  # by less than a tenth in all
        ([8, 4, 5, 6, 1, 1, 1, 1], 1, 8),
        ([8, 4, 4, 4], 3, 9),  # looked at every third epoch
    ],
)
def test_stagnation(values, every, end):
    rule = make_stop_rule("stagnation", epochs=3, tolerance=0.1)
    assert ends(rule, losses("train_loss", values, every=every)) == end


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ([5, 4, 3, 2, 1], None),
        ([5, 6, 7], 3),
        ([5, 6, 5, 6, 5], None),
        ([5, 5, 5, 5], None),  # the same is not worse
        ([5, 4, 4.5, 4.6, 9], 4),
    ],
)
def test_worsening_stages(values, end):
    assert ends(make_stop_rule("worsening_stages", stages=2), losses("test_loss", values)) == end


def test_within_a_stage_the_test_loss_may_do_what_it_wants():
    values = [1, 2, 3, 1, 2, 2.9, 5, 5, 2.8]
    assert ends(make_stop_rule("worsening_stages", stages=2), losses("test_loss", values, 3)) is None
    assert ends(make_stop_rule("worsening_stages", stages=1), losses("test_loss", [1, 2, 1, 3], 2)) == 4
