"""The figures of a run: `kanbench.plan.figures` lists them, `make` draws them."""
