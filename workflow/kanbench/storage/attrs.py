"""The attrs of a run's frames, completed from wherever they are stored: with the frames, or in a JSON file beside."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kanbench.errors import InputError, warn
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTION_1, section_of, without_variant
from kanbench.storage.derive import DERIVABLE, Frames, epochs_per_grid
from kanbench.storage.values import epochs_of, same

TRAINED = ("epochs", "device", "lbfgs_threshold_time", "baseline_threshold_time", "provenance")
ESSENTIAL = {  # the attrs of a section's frames, beside section, timestamp and model_type
    "section2_1": TRAINED,
    "section2_2": TRAINED,
    "section2_3": ("device", "n_seeds", "n_experts", "n_selected", "provenance"),
}
Attrs = dict[Any, Any]  # those of a frame may have keys of any kind
OF_FRAMES = ("model_type", "model_types")  # says the frame's or the file's name


def essential(section: str) -> tuple[str, ...]:
    """The keys that the attrs of a section's frames have, beside section, timestamp and model_type."""
    if (known := without_variant(section)) in ESSENTIAL:
        return ESSENTIAL[known]
    of_section_1 = ("kan_threshold_time",) if section_of(section) is SECTION_1 else ()
    return ("epochs", "device", *of_section_1, "provenance")


def complete(run: Run, frames: Frames, stored: Attrs) -> Attrs:
    """Give every frame the attrs that the present format stores, and return those on which all agree.

    What a key's value is comes from, in this order: the file's name, the frame's own attrs, the metadata beside it
    (`stored`), what the data tell; where nothing tells, it is None. What disagrees with a source further up gives a
    warning. What can be derived is left out, with a warning if it disagrees with the data.
    """
    named: Attrs = {"section": run.section, "timestamp": run.timestamp}
    if run.epochs is not None and section_of(run.section).has_epochs:
        named["epochs"] = run.epochs
    beside = _with_sound_epochs(run, run.name, _without_derivable(run.name, stored, frames))
    for name, frame in frames.items():
        where = f"{run.name}_{name}"
        own = _with_sound_epochs(run, where, _without_derivable(where, frame.attrs, frame))
        _warn_of_differences(f"{where}: attrs", own, named)
        _warn_of_differences(f"{run.name}: the JSON file", beside, {**own, **named})
        attrs = {**dict.fromkeys(essential(run.section)), **_known(beside), **_known(own), **named}
        if "epochs" in attrs and attrs["epochs"] is None:
            attrs["epochs"] = _epochs(frames)
        model_types = section_of(run.section).model_types
        own_type = name if name in model_types or not section_of(run.section).frame_names else model_types[0]
        frame.attrs = {**attrs, "model_type": own_type}
    return agreed([frame.attrs for frame in frames.values()])


def _with_sound_epochs(run: Run, where: str, attrs: Attrs) -> Attrs:
    """The attrs with their `epochs` as an integer; without them, where they are none or the section has none."""
    if "epochs" not in attrs:
        return attrs
    others, stored = {key: value for key, value in attrs.items() if key != "epochs"}, attrs["epochs"]
    epochs = epochs_of(stored)
    if stored is None or not section_of(run.section).has_epochs:
        return others
    if epochs is None:
        found = repr(stored)[:100]
        warn(f"{where}: epochs: found {found}; allowed: an integer from 1 on")
        return others
    return {**others, "epochs": epochs}


def agreed(dicts: list[Attrs]) -> Attrs:
    """The items that all of several mappings have; of mappings in them, theirs."""
    first, *others = dicts
    shared: Attrs = {}
    for key, value in first.items():
        if isinstance(value, dict) and all(isinstance(other.get(key), dict) for other in others):
            shared[key] = agreed([value, *(other[key] for other in others)])
        elif all(key in other and same(other[key], value) for other in others):
            shared[key] = value
    return shared


def _known(attrs: Attrs) -> Attrs:
    return {key: value for key, value in attrs.items() if value is not None}


def _warn_of_differences(where: str, attrs: Attrs, right: Attrs) -> None:
    for key, value in _known(attrs).items():
        if right.get(key) is not None and not same(right[key], value):
            warn(f"{where}: {key}={value!r} conflicts with other sources; using {right[key]!r}")


def _without_derivable(where: str, attrs: Attrs, frames: pd.DataFrame | Frames) -> Attrs:
    for key, stored in attrs.items():
        if key not in DERIVABLE:
            continue
        try:
            derived = DERIVABLE[key][1](frames)
        except InputError:  # the columns are not there, are empty or hold something else
            continue
        if not _agree(stored, derived):
            warn(f"{where}: {key}={stored!r} conflicts with the data; using {derived!r}")
    return {key: value for key, value in attrs.items() if key not in DERIVABLE and key not in OF_FRAMES}


def _agree(stored: Any, derived: Any) -> bool:
    """Whether a stored value says what the data say; what says something else, and not the same wrongly, agrees."""
    if isinstance(stored, (list, tuple)) and isinstance(derived, list):
        return same(sorted(stored, key=_rank), sorted(derived, key=_rank))
    if isinstance(stored, (int, float, str)) and isinstance(derived, list):  # one of several, as of the last grid
        return stored in derived or not derived
    number = isinstance(stored, (int, float)) and isinstance(derived, int)
    return same(stored, derived) or not (number or type(stored) is type(derived))  # others say something else


def _rank(value: Any) -> tuple[int, Any]:
    """To sort anything together: numbers, text, and the rest by how Python shows it."""
    if isinstance(value, (int, float)):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, repr(value))


def _epochs(frames: Frames) -> int | None:
    """The epochs of a grid, where neither names nor attrs tell."""
    if not all({"dataset_idx", "grid_size", "epoch"} <= set(frame.columns) for frame in frames.values()):
        return None
    return epochs_per_grid(frames) if any(map(len, frames.values())) else None
