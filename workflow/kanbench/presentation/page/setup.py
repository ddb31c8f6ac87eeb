"""The set-up of a run in words, from what its frames, their attrs and its checkpoints record."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pandas as pd

from kanbench.analysis.words import listed
from kanbench.network.checkpoint_config import read_model_config
from kanbench.plan.sections import TIMESTAMP_FORMAT
from kanbench.presentation.figures.source import Source
from kanbench.problems.poisson import PROBLEMS

PACKAGES = ("kanbench", "pykan", "torch", "python")
NOT_RECORDED = "not recorded"


def setup(source: Source) -> dict[str, str]:
    """What was done, `{what: words}`; what a run of an earlier format does not record is said to be so."""
    attrs = _attrs(source)
    provenance = attrs.get("provenance") if isinstance(attrs.get("provenance"), dict) else {}
    versions = [f"{name} {provenance[name]}" for name in PACKAGES if name in provenance]
    return {
        "Problems": _problems(source.datasets.values()),
        **(_experts(source, attrs) if source.section.frame_names else _trainings(source, attrs)),
        "Seeds": listed([NOT_RECORDED if seed is None else seed for seed in source.replicates]),
        "Engine": ", ".join(str(provenance[key]) for key in ("engine", "dtype") if key in provenance) or NOT_RECORDED,
        "Device": str(attrs.get("device") or NOT_RECORDED),
        "Versions": ", ".join(versions) or NOT_RECORDED,
        "Begun": f"{datetime.strptime(source.run.timestamp, TIMESTAMP_FORMAT):%Y-%m-%d, %H:%M:%S}",
    }


def _attrs(source: Source) -> dict:
    """Those of the frame that records most: that of the experts has no seed, because each has its own."""
    return max((frame.attrs for frame in source.results.values()), key=lambda attrs: len(str(attrs.get("provenance"))))


def _problems(names: Iterable[str]) -> str:
    """Their names, by the number of inputs."""
    by_dim: dict[int | None, list[str]] = {}
    for name in names:
        by_dim.setdefault(PROBLEMS[name].dim if name in PROBLEMS else None, []).append(name)
    return "; ".join(listed(same) + (f" ({dim} inputs)" if dim else "") for dim, same in by_dim.items())


def _trainings(source: Source, attrs: dict) -> dict[str, str]:
    epochs = attrs.get("epochs") or "an unknown number of"
    return {
        "Compared": listed(source.model_types),
        "Model": _model(source),
        "Training": f"grids of {_grids(source.results.values())} intervals, {epochs} epochs on each",
    }


def _experts(source: Source, attrs: dict) -> dict[str, str]:
    found = {}
    experts = source.results.get("experts")
    if experts is not None and {"depth", "k"} <= set(experts):
        depths, orders = (listed(sorted(set(experts[name])), "or") for name in ("depth", "k"))
        number = experts.groupby("dataset_idx").size().max()
        found["Experts"] = f"{number} on every problem: {depths} hidden layers, splines of order {orders}"
    if attrs.get("n_selected") is not None:
        found["Merged"] = f"the best {attrs['n_selected']} of them, by validation loss"
    if "grid_history" in source.results:
        found["Training of the merged models"] = f"grids of {_grids([source.results['grid_history']])} intervals"
    return found


def _grids(frames: Iterable[pd.DataFrame]) -> str:
    sizes = pd.concat([frame["grid_size"] for frame in frames if "grid_size" in frame] or [pd.Series(dtype=int)])
    return listed(list(dict.fromkeys(sizes.astype(int)))) if len(sizes) else "an unknown number of"


def _model(source: Source) -> str:
    """The models' widths and order, where all checkpoints have the same."""
    files = [file.path for file in source.files if file.kind == "checkpoint" and file.suffix == "config.yml"]
    configs = [read_model_config(path) for path in files]
    models = {(tuple(nodes for nodes, _ in config["width"]), str(config["k"])) for config in configs}
    if not models:
        return NOT_RECORDED
    return listed([f"KAN {list(width)}, splines of order {k}" for width, k in sorted(models)], "or")
