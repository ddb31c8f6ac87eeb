"""Optimizers, the training loop, and the result of a training."""
