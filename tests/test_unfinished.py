"""Trainings that are interrupted go on, and end as they would have ended."""

import logging
import os

import pytest
import torch

from kanbench import unfinished as unfinished_module
from kanbench.config import merge
from kanbench.experts import train_expert
from kanbench.merge_kan import train_control, train_merged
from kanbench.settings import control_settings, expert_settings, merge_settings, training_settings
from kanbench.training import CHECKPOINTS, Trainer
from kanbench.unfinished import Unfinished

SMALL = {
    "data": {"train_num": 80, "test_num": 60, "dense_num": 100},
    "grids": {"sizes": [3, 6, 8]},
    "model": {"width": [2, 3, 1]},
    "experts": {"hidden_width": 2, "steps": 40, "evaluate_every": 4, "stagnation": {"epochs": 20, "tolerance": 0.5}},
    "merge_kan": {"n_selected": 2, "valid_num": 50, "grids": [5, 7], "epochs": 3},
}
EPOCHS = 4


class Killed(BaseException):
    """Stands for the end of the process."""


class Mortal(Unfinished):
    """Keeps a state after every epoch, as if it were always time to, and ends the process after so many."""

    def __init__(self, folder, name="training", lives=None):
        super().__init__(folder, name)
        self.lives = [1] if lives is None else lives

    def part(self, name):
        return Mortal(self.folder, name, self.lives)

    def due(self):
        return True

    def keep(self, key, state):
        super().keep(key, state)
        self.lives[0] -= 1
        if not self.lives[0]:
            raise Killed


def content(training):
    """All of a training but its times, with tensors as bytes."""
    checkpoints = [getattr(training, name) for name in CHECKPOINTS]
    rows = [*training.history, *(checkpoint.row for checkpoint in checkpoints)]
    snapshots = [vars(checkpoint.snapshot) for checkpoint in checkpoints]
    return (
        [{key: value for key, value in row.items() if key != "time"} for row in rows],
        [
            {**snapshot, "state": {name: value.numpy().tobytes() for name, value in snapshot["state"].items()}}
            for snapshot in snapshots
        ],
        training.device,
        training.engine,
        training.stopped,
    )


def with_crashes(train, folder, every=1):
    """What `train(unfinished)` returns after as many crashes as it takes, one after every so many kept states."""
    for crashes in range(100):
        try:
            return train(Mortal(folder, lives=[every])), crashes
        except Killed:
            pass
    raise AssertionError("it never ended")


def settings_of(config, model_type="lm", problem="poisson_2d_sin", **over):
    section = "section2_1" if model_type in ("adam", "lbfgs", "lm") else "section2_2"
    changed = merge(merge(config, SMALL), over)
    return training_settings(changed, section, model_type, config["datasets"].index(problem))


TRAININGS = {
    "adam": ("adam", {}),
    "lbfgs": ("lbfgs", {}),
    "lm": ("lm", {}),
    "float32": ("lm", {"dtype": "float32"}),
    "few pairs": ("lbfgs", {"optimizers": {"lbfgs": {"history_size": 3}}}),
    "torch": ("lbfgs", {"engine": "torch"}),
    "reference": ("adam", {"engine": "reference"}),
    "adaptive_only": ("adaptive_only", {}),
    "adaptive_regular": ("adaptive_regular", {}),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_crashes_after_every_epoch_ends_with_the_same_result(config, tmp_path, name):
    model_type, over = TRAININGS[name]
    settings = settings_of(config, model_type, **over)
    undisturbed = Trainer(settings).train(EPOCHS)
    resumed, crashes = with_crashes(lambda place: Trainer(settings).train(EPOCHS, unfinished=place), tmp_path)
    assert crashes == 3 * EPOCHS
    assert content(resumed) == content(undisturbed)


def test_time_goes_on_counting(config, tmp_path):
    settings = settings_of(config)
    resumed, _ = with_crashes(lambda place: Trainer(settings).train(EPOCHS, unfinished=place), tmp_path, every=5)
    times = [row["time"] for row in resumed.history]
    assert times == sorted(times)
    assert times[0] > 0


def test_only_new_rows_are_reported(config, tmp_path):
    settings, epochs = settings_of(config), []
    train = lambda place: Trainer(settings).train(EPOCHS, lambda row: epochs.append(row["epoch"]), place)  # noqa: E731
    with_crashes(train, tmp_path, every=5)
    assert epochs == list(range(1, 3 * EPOCHS + 1))
