"""Which figures a run has, and their file names. Imports nothing heavy, because the Snakefile imports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kanbench.plan.sections import SECTIONS, Section, section_of

FORMATS = ("png", "pdf")


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure. To add one, add a row to `KINDS`, a function that draws it, and a caption.

    The function takes the `StoredRun`, a callable for notes, the `argument` if given, and the dataset's name if it
    shows a single dataset.
    """

    name: str  # its caption is `workflow/report/{name}.rst`
    title: str  # in reports
    draw: str  # `module:function` in `kanbench.presentation.figures`
    argument: str | None = None
    section: str | None = None  # the only section with this figure; None for all sections that compare model types
    per_dataset: bool = False  # one figure per dataset
    inputs: int | None = None  # the required number of inputs of the dataset's problem
    is_key: bool = False  # shown unfolded on the report page

    def of(self, section: Section, datasets: Mapping[str, int | None]) -> list[Figure]:
        """The figures of this kind in a run of a section; `datasets` as for `figures_of`."""
        if (section is not SECTIONS[self.section]) if self.section else section.frame_names:
            return []
        if not self.per_dataset:
            return [Figure(self.name)]
        shown = [name for name, inputs in datasets.items() if None in (inputs, self.inputs) or inputs == self.inputs]
        return [Figure(self.name, dataset) for dataset in shown]


KINDS = {
    kind.name: kind
    for kind in (  # in display order
        FigureKind("comparison", "Comparison of model types", "comparison:comparison_figure", is_key=True),
        FigureKind("loss_epochs", "Losses against epochs", "losses:losses_figure", "epoch"),
        FigureKind("loss_flops", "Losses against flops", "losses:losses_figure", "flops", is_key=True),
        FigureKind("loss_time", "Losses against time", "losses:losses_figure", "time", is_key=True),
        FigureKind("loss_evals", "Losses against evaluations", "losses:losses_figure", "n_evals"),
        FigureKind("params", "Accuracy against parameters", "params:params_figure"),
        FigureKind("grids", "Grids of the nodes", "node_grids:grids_figure", section="section2_2", is_key=True),
        FigureKind("gain", "Gain by merging", "merging:gain_figure", section="section2_3", is_key=True),
        FigureKind("experts", "Experts and selection", "merging:experts_figure", section="section2_3", is_key=True),
        FigureKind(
            "merge_history", "Training of the merged models", "losses:merge_history_figure", section="section2_3"
        ),
        FigureKind(
            "merge_diagram",
            "The merged network",
            "diagram:merge_diagram_figure",
            section="section2_3",
            per_dataset=True,
        ),
        FigureKind("surface", "Fit, truth and error", "surfaces:surface_figure", per_dataset=True, inputs=2),
        FigureKind("slices", "Slices", "surfaces:slices_figure", per_dataset=True),
    )
}


@dataclass(frozen=True)
class Figure:
    """One figure of a run."""

    kind: str  # a key of `KINDS`
    dataset: str | None = None  # the name of the dataset shown; None for all

    @property
    def name(self) -> str:
        """The base name of its files."""
        return self.kind if self.dataset is None else f"{self.kind}_{self.dataset}"


def figures_of(section: str, datasets: Mapping[str, int | None]) -> list[Figure]:
    """The figures of a run of a section on these datasets.

    Args:
        section (str): The name of a section or variant.
        datasets (dict): `{name: number of inputs}`, None if the number is unknown.
    """
    return [figure for kind in KINDS.values() for figure in kind.of(section_of(section), datasets)]
