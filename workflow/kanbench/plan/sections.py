"""The sections, their model types and variants, and timestamps: the words that names are made of."""

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
    """One question, and what its files are called."""

    folder: str  # below `results/`
    model_types: tuple[str, ...]  # in the order of plots and tables
    label: str  # the column of the frames, and the key of the checkpoint metadata, that holds the model type
    reference: str | None = None  # the model type whose threshold time the others are measured against
    threshold_time: str | None = None  # the attribute that holds that time
    frame_names: tuple[str, ...] = ()  # where the frames are not one per model type
    table: str = "model_types"  # of results; another, `summary`, has the statements
    question: str = "Which model type is best?"

    @property
    def frames(self) -> tuple[str, ...]:
        return self.frame_names or self.model_types

    @property
    def has_epochs(self) -> bool:
        """Whether names have a number of epochs: experts and merged models have epochs of their own."""
        return not self.frame_names

    def history_of(self, model_type: str) -> str:
        """The frame that has a row for every epoch of a model type."""
        return "grid_history" if self.frame_names else model_type

    def model_type_of(self, frame: str) -> str:
        """The model type that a frame is about."""
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
SECTION = r"section\d+_\d+(?:_\w+?)?"  # of any experiment
SECTION_1 = Section("", ("mlp", "siren", "kan", "kan_pruning"), "model_type", "kan", "kan_threshold_time")
EXPERT, CONTROL = "expert", "control"  # trainings of section 2.3 beside the merged model's


def with_variant(section: str, variant: str | None) -> str:
    """`section2_1` and `highd_3d_shallow` make `section2_1_highd_3d_shallow`."""
    return section if variant is None else f"{section}_{variant}"


def is_variant(text: str) -> bool:
    """Whether `text` can be a variant's name: small letters, digits and underscores, and no timestamp among them."""
    return bool(re.fullmatch(VARIANT, text)) and not re.search(TIMESTAMP, text)


def without_variant(section: str) -> str:
    """`section2_1` of `section2_1_highd_3d_shallow`; what is no variant of one of SECTIONS as it is."""
    return next((known for known in SECTIONS if section.startswith(f"{known}_")), section)


def check_variant(where: str, section: str, variant: str | None) -> None:
    """Check that a section's name is one of the configured variant's: no other configuration makes what it says.

    Raises:
        InputError: It is not.
    """
    if section != (configured := with_variant(without_variant(section), variant)):
        needed = "null" if variant is None else variant
        raise InputError(where, section, f"{configured}: the configuration has variant: {needed}")


def section_of(name: str) -> Section:
    """What is known of a section, which may be a variant or one of another experiment.

    Raises:
        InputError: It is not a section's name.
    """
    if (known := without_variant(name)) in SECTIONS:
        return SECTIONS[known]
    if not re.fullmatch(SECTION, name):
        raise InputError("section", f"{name!r}", f"{', '.join(SECTIONS)}, or an earlier one such as section1_1")
    return SECTION_1 if name.startswith("section1_") else Section("", (), "model_type")


def number_of(section: str) -> str:
    """`2.1` for section2_1 and its variants."""
    return ".".join(section.removeprefix("section").split("_")[:2])


def section_with(model_type: str) -> str:
    """The section that has this model type."""
    return next(name for name, section in SECTIONS.items() if model_type in section.model_types)


def new_timestamp() -> str:
    """Now, in UTC: the order of timestamps is that of runs in any time zone, and no hour comes twice in autumn."""
    return datetime.now(UTC).strftime(TIMESTAMP_FORMAT)


def is_timestamp(text: str) -> bool:
    """Whether `text` is a date and time that exist, as YYYYMMDD_HHMMSS."""
    try:
        return bool(re.fullmatch(TIMESTAMP, text)) and bool(datetime.strptime(text, TIMESTAMP_FORMAT))
    except ValueError:
        return False
