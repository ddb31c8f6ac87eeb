"""The torch engine, on the CPU or CUDA; only this package and the border to pykan import torch."""
