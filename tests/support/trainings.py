"""Trainings of settings alone, whose samples are made here."""

from kanbench.training.trainer import Trainer, make_data


def trainer_of(settings, **more):
    return Trainer(settings, make_data(settings), **more)
