"""Complete the attrs of a run's frames from all sources: frames, file names, metadata in JSON, and the data."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kanbench.errors import InputError, warn
from kanbench.io.made_by import MADE_BY, NOT_RECORDED
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.storage.derive import DERIVABLE, Frames, epochs_per_grid
from kanbench.storage.values import epochs_of, same

Attrs = dict[Any, Any]  # the attrs of a frame may have keys of any type
OF_FRAMES = ("model_type", "model_types")  # given by the frame's or the file's name


def essential(section: str) -> tuple[str, ...]:
    """The required keys of attrs in a section's frames, besides section, timestamp and model_type."""
    known = section_of(section)
    if known.frame_names:
        return ("device", "n_seeds", "n_experts", "n_selected", "provenance")
    alike = SECTIONS.values() if known in SECTIONS.values() else [known]  # frames of 2.1 and 2.2 have both times
    times = [other.threshold_time for other in alike if other.threshold_time]
    return ("epochs", "device", *times, "provenance")


def complete(run: Run, frames: Frames, stored: Attrs) -> Attrs:
    """Give each frame the attrs of the present format, and return those on which all frames agree.

    Values are taken from, in this order: the file name, the frame's own attrs, the metadata in JSON (`stored`), and the
    data; unknown values are None. Derivable attrs are dropped.

    Warns:
        UserWarning: A source disagrees with one of higher priority, or a derivable attr with the data.
    """
    named: Attrs = {"section": run.section, "timestamp": run.timestamp}
    if run.epochs is not None and section_of(run.section).has_epochs:
        named["epochs"] = run.epochs
    from_json = _usable(run, run.name, stored, frames)
    for name, frame in frames.items():
        where = f"{run.name}_{name}"
        own = _usable(run, where, frame.attrs, frame)
        _warn_of_differences(f"{where}: attrs", own, named)
        _warn_of_differences(f"{run.name}: the JSON file", from_json, {**own, **named})
        attrs = {**dict.fromkeys(essential(run.section)), **_known(from_json), **_known(own), **named}
        if "epochs" in attrs and attrs["epochs"] is None:
            with contextlib.suppress(InputError):  # stays unknown
                attrs["epochs"] = epochs_per_grid(frames)
        frame.attrs = {**attrs, "model_type": section_of(run.section).model_type_of(name)}
    return agreed([frame.attrs for frame in frames.values()])


def provenance_of(frame: pd.DataFrame) -> dict[str, Any]:
    """The provenance in a frame's attrs; empty if it has none."""
    found = frame.attrs.get("provenance")
    return found if isinstance(found, dict) else {}


def is_converted(frame: pd.DataFrame) -> bool:
    """Whether a frame was converted from another format, so that some of its data may be unknown."""
    return "converted_from" in provenance_of(frame)


def mixed(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """One sentence for each key of `MADE_BY` with several values: the values and their frames, by name."""
    sentences = []
    for key, how in MADE_BY.items():
        found: dict[str, list[str]] = {}
        for name, frame in frames.items():
            stated = provenance_of(frame).get(key, NOT_RECORDED)
            for value in stated if isinstance(stated, list) else [stated]:
                found.setdefault(str(value), []).append(name)
        if len(found) > 1:
            sentences.append(f"Trained {how}: {in_words(found)}.")
    return sentences


def in_words(groups: Mapping[Any, list[str]]) -> str:
    """Format `{value: names}` as `name, name: value; …`."""
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in groups.items())


def agreed(dicts: list[Attrs]) -> Attrs:
    """The items that all mappings have in common; nested mappings are compared recursively."""
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


def _usable(run: Run, where: str, attrs: Attrs, frames: pd.DataFrame | Frames) -> Attrs:
    """The attrs without derivable ones; `epochs` as an integer, or dropped if invalid or if the section has none."""
    for key, stored in attrs.items():
        if key not in DERIVABLE:
            continue
        try:
            derived = DERIVABLE[key][1](frames)
        except InputError:  # the columns are missing, empty or invalid
            continue
        if not _agree(stored, derived):
            warn(f"{where}: {key}={stored!r} conflicts with the data; using {derived!r}")
    usable = {key: value for key, value in attrs.items() if key not in DERIVABLE and key not in OF_FRAMES}
    if (stored := usable.pop("epochs", None)) is None or not section_of(run.section).has_epochs:
        return usable
    if (epochs := epochs_of(stored)) is not None:
        return {**usable, "epochs": epochs}
    warn(f"{where}: epochs: found {repr(stored)[:100]}; allowed: an integer, at least 1")
    return usable


def _agree(stored: Any, derived: Any) -> bool:
    """Whether a stored value is consistent with the data; values of another kind have another meaning, and pass."""
    if isinstance(stored, (list, tuple)) and isinstance(derived, list):
        return same(sorted(stored, key=_rank), sorted(derived, key=_rank))
    if isinstance(stored, (int, float, str)) and isinstance(derived, list):  # a single one of several, as the last grid
        return stored in derived or not derived
    number = isinstance(stored, (int, float)) and isinstance(derived, int)
    return same(stored, derived) or not (number or type(stored) is type(derived))


def _rank(value: Any) -> tuple[int, Any]:
    """A sort key for values of any type: numbers, then text, then all others by `repr`."""
    if isinstance(value, (int, float)):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, repr(value))
