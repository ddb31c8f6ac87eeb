"""Which figures a run has, and the names of their files. Imports nothing heavy: the Snakefile reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kanbench.errors import InputError
from kanbench.plan.naming import FIGURES, parse
from kanbench.plan.sections import SECTIONS, WITHOUT_EPOCHS, section_of, without_variant
from kanbench.problems import PROBLEMS

FORMATS = ("png", "pdf")
TITLES = {  # what reports call the figures, in the order in which they are shown
    "comparison": "Comparison of model types",
    "loss_epochs": "Losses against epochs",
    "loss_time": "Losses against time",
    "loss_evals": "Losses against evaluations",
    "params": "Accuracy against parameters",
    "grids": "Grids of the nodes",
    "gain": "Gain by merging",
    "experts": "Experts and selection",
    "merge_history": "Training of the merged models",
    "merge_diagram": "The merged network",
    "surface": "Fit, truth and error",
    "slices": "Slices",
}
OF_TRAININGS = ("comparison", "loss_epochs", "loss_time", "loss_evals", "params")
OF_MERGING = ("gain", "experts", "merge_history")


@dataclass(frozen=True)
class Figure:
    """One figure of a run.

    Attributes
    ----------
    kind : str
        A key of `TITLES`.
    dataset : str or None
        Of a figure that shows one dataset, its name.
    """

    kind: str
    dataset: str | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        return self.kind if self.dataset is None else f"{self.kind}_{self.dataset}"

    def paths(self, folder: str | Path) -> list[str]:
        return [f"{folder}/{self.name}.{suffix}" for suffix in FORMATS]


def figures_of(section: str, datasets: Iterable[str]) -> list[Figure]:
    """The figures of a run of a section on these datasets.

    A problem whose inputs are not two has no surface.
    """
    known, datasets = section_of(section), list(datasets)
    if known is SECTIONS["section2_3"]:
        return [*map(Figure, OF_MERGING), *(Figure("merge_diagram", dataset) for dataset in datasets)]
    kinds = [*OF_TRAININGS, *(["grids"] if known is SECTIONS["section2_2"] else [])]
    surfaces = [Figure("surface", d) for d in datasets if d not in PROBLEMS or PROBLEMS[d].dim == 2]
    return [*map(Figure, kinds), *surfaces, *(Figure("slices", dataset) for dataset in datasets)]


def is_figure(target: str) -> bool:
    """Whether a target of the workflow is meant to be a figure's file."""
    return Path(target).parent.parent.name == FIGURES


def check_figure(target: str, datasets: Sequence[str]) -> None:
    """Check that `target` is the file of a figure of a run on the datasets.

    Raises
    ------
    InputError
        Says which part of the name is wrong.
    """
    folder = Path(target).parent.name
    run = parse(f"{folder}_checkpoint_metadata.pkl").run
    if (run.epochs is None) != (without_variant(run.section) in WITHOUT_EPOCHS) or run.seed is not None:
        ending = "" if without_variant(run.section) in WITHOUT_EPOCHS else "_eEPOCHS"
        raise InputError(target, folder, f"{run.section}_{run.timestamp}{ending}")
    allowed = [path for figure in figures_of(run.section, datasets) for path in figure.paths(run.figure_folder)]
    if target not in allowed:
        names = ", ".join(figure.name for figure in figures_of(run.section, datasets))
        raise InputError(
            target, allowed=f"{run.figure_folder}/NAME.{'|'.join(FORMATS)}, NAME: {names}", problem="no such figure"
        )
