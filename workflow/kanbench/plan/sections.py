"""Sections, their model types and variants, and timestamps: the parts that names are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from kanbench.errors import InputError

TIMESTAMP_FORMAT = "%Y%m%d_%H%M%S"
TIMESTAMP = r"\d{8}_\d{6}"
VARIANT = r"[a-z][a-z0-9_]*?"


@dataclass(frozen=True)
class Section:
    """A section: its question, and the names of its files."""

    folder: str  # in `results/`
    model_types: tuple[str, ...]  # in the order of plots and tables
    label: str  # column of frames and key of checkpoint metadata with the model type
    reference: str | None = None  # the model type whose threshold time is the reference for the others
    threshold_time: str | None = None  # the attribute with that time
    frame_names: tuple[str, ...] = ()  # if the frames are not one per model type
    table: str = "model_types"  # the table of results; another, `summary`, has the statements
    question: str = "Which model type is best?"

    @property
    def frames(self) -> tuple[str, ...]:
        return self.frame_names or self.model_types

    @property
    def has_epochs(self) -> bool:
        """Whether names contain a number of epochs; experts and merged models have their own epochs."""
        return not self.frame_names

    def history_of(self, model_type: str) -> str:
        """The frame with a row for each epoch of a model type."""
        return "grid_history" if self.frame_names else model_type

    def model_type_of(self, frame: str) -> str:
        """The model type that a frame describes."""
        return self.model_types[0] if self.frame_names else frame


SECTIONS = {
    "section2_1": Section(
        "sec1_results",
        ("adam", "lbfgs", "lm"),
        "optimizer",
        "lbfgs",
        "lbfgs_threshold_time",
        table="optimizers",
        question="Which optimizer trains a KAN best for the same compute?",
    ),
    "section2_2": Section(
        "sec2_results",
        ("adaptive_only", "adaptive_regular", "baseline"),
        "approach",
        "baseline",
        "baseline_threshold_time",
        table="density",
        question="Does refining only the important nodes' grids beat refining all?",
    ),
    "section2_3": Section(
        "sec3_results",
        ("merge_kan",),
        "approach",
        frame_names=("summary", "experts", "selected_experts", "grid_history"),
        table="merge_kan",
        question="Can experts be merged into one wider KAN that beats each of them?",
    ),
}
MODEL_TYPES = tuple(model_type for section in SECTIONS.values() for model_type in section.model_types)
FRAMES = tuple(frame for section in SECTIONS.values() for frame in section.frames)
SECTION = r"section\d+_\d+(?:_\w+?)?"  # in any experiment
SECTION_1 = Section("", ("mlp", "siren", "kan", "kan_pruning"), "model_type", "kan", "kan_threshold_time")
EXPERT, CONTROL = "expert", "control"  # the other trainings of section 2.3


def with_variant(section: str, variant: str | None) -> str:
    """Join a section and a variant: `section2_1` and `highd_3d_shallow` give `section2_1_highd_3d_shallow`."""
    return section if variant is None else f"{section}_{variant}"


def is_variant(text: str) -> bool:
    """Whether `text` can name a variant: lower-case letters, digits and underscores, and no timestamp in it."""
    return bool(re.fullmatch(VARIANT, text)) and not re.search(TIMESTAMP, text)


def without_variant(section: str) -> str:
    """`section2_1` for `section2_1_highd_3d_shallow`; names that are no variant of SECTIONS are returned unchanged."""
    return next((known for known in SECTIONS if section.startswith(f"{known}_")), section)


def check_variant(where: str, section: str, variant: str | None) -> None:
    """Check that a section's name has the configured variant; only that variant's configuration makes its files.

    Args:
        where (str): The place that an error names.

    Raises:
        InputError: The variant is another one.
    """
    if section != (configured := with_variant(without_variant(section), variant)):
        needed = "null" if variant is None else variant
        raise InputError(where, section, f"{configured}: the configuration has variant: {needed}")


def section_of(name: str) -> Section:
    """The `Section` of this name, which may be a variant or from another experiment.

    Raises:
        InputError: It is not the name of a section.
    """
    if (known := without_variant(name)) in SECTIONS:
        return SECTIONS[known]
    if not re.fullmatch(SECTION, name):
        raise InputError("section", f"{name!r}", f"{', '.join(SECTIONS)}, or an earlier one such as section1_1")
    return SECTION_1 if name.startswith("section1_") else Section("", (), "model_type")


def number_of(section: str) -> str:
    """The number of a section: `2.1` for section2_1 and its variants."""
    return ".".join(section.removeprefix("section").split("_")[:2])


def section_with(model_type: str) -> str:
    """The section that has this model type."""
    return next(name for name, section in SECTIONS.items() if model_type in section.model_types)


def new_timestamp() -> str:
    """The current time in UTC, so that timestamps sort by time, whatever the time zone and daylight saving."""
    return datetime.now(UTC).strftime(TIMESTAMP_FORMAT)


def is_timestamp(text: str) -> bool:
    """Whether `text` is a valid date and time as YYYYMMDD_HHMMSS."""
    try:
        return bool(re.fullmatch(TIMESTAMP, text)) and bool(datetime.strptime(text, TIMESTAMP_FORMAT))
    except ValueError:
        return False
