"""Figures of a run: what people look at. `kanbench.plan.figures` says which there are; `make` draws them."""
