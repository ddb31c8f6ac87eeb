"""The torch engine, on the CPU or CUDA: alone in importing torch, beside the border to pykan."""
