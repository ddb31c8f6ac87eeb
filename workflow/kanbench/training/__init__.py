"""Optimizers, the training loop, and what a training leaves behind."""
