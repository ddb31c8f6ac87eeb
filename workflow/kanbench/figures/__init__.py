"""Figures of a run: what people look at. `kanbench.figures.names` says which there are; `make` draws them."""
