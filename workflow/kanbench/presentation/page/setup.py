"""The set-up of a run in words, from its frames, their attrs and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd

from kanbench.analysis.statements import join_names
from kanbench.io.made_by import NOT_RECORDED
from kanbench.plan.labels import model_label
from kanbench.plan.sections import TIMESTAMP_FORMAT
from kanbench.storage.attrs import provenance_of
from kanbench.storage.stored_run import StoredRun

PACKAGES = ("kanbench", "pykan", "torch", "python")
TARGETS = {"standardized": "standardized for training; losses are in the targets' own units", "raw": "not standardized"}
CLOCKS = {"thread": "CPU time of the training's thread", "wall": "wall-clock time"}


def setup(stored: StoredRun) -> dict[str, str]:
    """Describe the set-up as `{heading: text}`; entries that earlier formats do not record say so."""
    # Use the frame that records most: the frame of experts has no seed, because each expert has its own.
    frame = max(stored.compared.values(), key=lambda frame: len(str(frame.attrs.get("provenance"))))
    attrs, provenance = {str(key): value for key, value in frame.attrs.items()}, provenance_of(frame)
    versions = [f"{name} {provenance[name]}" for name in PACKAGES if name in provenance]
    by_dim: dict[int | None, list[str]] = {}
    for name, dim in stored.inputs.items():
        by_dim.setdefault(dim, []).append(name)
    problems = [join_names(same) + (f" ({dim} inputs)" if dim else "") for dim, same in by_dim.items()]
    return {
        "Problems": "; ".join(problems),
        **(_experts(stored, attrs) if stored.section.frame_names else _trainings(stored, attrs)),
        "Seeds": join_names([NOT_RECORDED if seed is None else seed for seed in stored.replicates]),
        "Engine": ", ".join(str(provenance[key]) for key in ("engine", "dtype") if key in provenance) or NOT_RECORDED,
        "Device": str(attrs.get("device") or NOT_RECORDED),
        "Targets": TARGETS.get(str(provenance.get("targets")), NOT_RECORDED),
        "Time": _clock(provenance.get("timing")),
        "Versions": ", ".join(versions) or NOT_RECORDED,
        "Started": f"{datetime.strptime(stored.run.timestamp, TIMESTAMP_FORMAT):%Y-%m-%d, %H:%M:%S}",
    }


def _clock(timing: Any) -> str:
    """Describe how times were measured, from the provenance's `timing`."""
    try:
        clock, repeats, seconds = CLOCKS[timing["clock"]], int(timing["repeats"]), float(timing["seconds"])
    except (KeyError, TypeError, ValueError):  # an earlier format, or edited by a user
        return NOT_RECORDED
    if repeats < 2:
        return clock
    return (
        f"{clock}; trainings were repeated for {seconds:g} s, up to {repeats} times: the minimum of every epoch counts"
    )


def _trainings(stored: StoredRun, attrs: dict[str, Any]) -> dict[str, str]:
    epochs = attrs.get("epochs") or "an unknown number of"
    models = {(tuple(nodes for nodes, _ in config["width"]), str(config["k"])) for config in stored.configs()}
    kans = [f"KAN {list(width)}, splines of order {k}" for width, k in sorted(models)]
    return {
        "Model types": join_names(map(model_label, stored.model_types)),
        "Model": join_names(kans or [NOT_RECORDED], "or"),
        "Training": f"grids of {_grids(stored.compared.values())} intervals, {epochs} epochs on each",
    }


def _experts(stored: StoredRun, attrs: dict[str, Any]) -> dict[str, str]:
    found = {}
    experts = stored.compared.get("experts")
    if experts is not None and {"depth", "k"} <= set(experts):
        depths, orders = (join_names(sorted(set(experts[name])), "or") for name in ("depth", "k"))
        number = experts.groupby("dataset_idx").size().max()
        found["Experts"] = f"{number} on every problem: {depths} hidden layers, splines of order {orders}"
    if attrs.get("n_selected") is not None:
        found["Merged"] = f"the best {attrs['n_selected']} of them, by validation loss"
    if "grid_history" in stored.compared:
        found["Training of the merged models"] = f"grids of {_grids([stored.compared['grid_history']])} intervals"
    return found


def _grids(frames: Iterable[pd.DataFrame]) -> str:
    sizes = pd.concat([frame["grid_size"] for frame in frames if "grid_size" in frame] or [pd.Series(dtype=int)])
    return join_names(list(dict.fromkeys(sizes.astype(int)))) if len(sizes) else "an unknown number of"
