"""Inputs, outputs and settings of the rules, for one configuration and timestamp.

The Snakefile imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kanbench.errors import InputError, choices
from kanbench.io.atomic import write_text
from kanbench.plan import naming, sections, settings
from kanbench.plan.config import Config, experts, problem_files, problems_of
from kanbench.plan.figures import FORMATS, KINDS, figures_of
from kanbench.plan.labels import model_label
from kanbench.plan.naming import CHECKPOINT_FILES, Run
from kanbench.plan.sections import CONTROL, EXPERT, SECTIONS
from kanbench.plan.settings import canonical_json
from kanbench.plan.tables import PUBLISHED, tables_of

Wildcards = Mapping[str, str]  # of a job, by name; Snakemake's wildcards behave like one
ReportArguments = dict[str, Any]

NOUNS = {EXPERT: "experts", "merge_kan": "the merged model", CONTROL: "the control"}
CHOSEN = ("auto", "new")  # values of `timestamp` that let the pipeline choose


def current_timestamp(configured: str, is_main: bool, pin: str | Path = naming.PIN) -> str:
    """The timestamp of the current run.

    Args:
        configured (str): A timestamp; `auto` for the pinned one, or the current time if there is none; `new` for the
            current time.
        is_main (bool): Whether this is the process that the user started. Jobs parse the Snakefile again, and use the
            pinned timestamp.
        pin (path): The file with the pinned timestamp.

    Raises:
        InputError: The pin file contains no timestamp.
    """
    pin = Path(pin)
    if configured not in CHOSEN:
        return configured
    if not pin.exists() or (configured == "new" and is_main):
        return sections.new_timestamp()
    pinned = pin.read_text(encoding="utf-8").strip()
    if not sections.is_timestamp(pinned):
        raise InputError(pin, f"{pinned!r}", "YYYYMMDD_HHMMSS; delete the file to begin a new run")
    return pinned


def write_pin(timestamp: str, pin: str | Path = naming.PIN) -> None:
    """Store the timestamp of the current run for later invocations."""
    write_text(pin, f"{timestamp}\n")


@dataclass(frozen=True)
class Pipeline:
    """The current run of each section, and the inputs of every file of a run."""

    config: Config  # checked
    timestamp: str  # of the current runs

    def run(self, section: str) -> Run:
        """The current run of a section."""
        return self._run(section, self.timestamp, self.config["epochs"])

    def pattern(self, section: str) -> Run:
        """A run of a section (or its configured variant) with wildcards for timestamp and epochs."""
        return self._run(section, "{timestamp}", "{epochs}")

    def _run(self, section: str, timestamp: str, epochs: int | str | None = None) -> Run:
        name = sections.with_variant(section, self.config["variant"])
        return Run(name, timestamp, epochs if SECTIONS[section].has_epochs else None)

    @property
    def page(self) -> str:
        """The summary page of the runs; each variant has its own, in the same folder."""
        variant = self.config["variant"]
        return f"{naming.RESULTS}/{naming.PAGE if variant is None else f'report_{variant}.html'}"

    @property
    def datasets(self) -> range:
        return range(len(self.config["datasets"]))

    @cached_property
    def _inputs(self) -> dict[str, int | None]:
        """The number of inputs of each dataset's problem."""
        problems = problems_of(self.config)
        return {name: problems[name].dim for name in self.config["datasets"]}

    @cached_property
    def _files(self) -> dict[str, str]:
        return problem_files(self.config)

    def problem_file(self, wildcards: Wildcards) -> list[str]:
        """The user's file that defines the problem of a training, if any."""
        name = self.config["datasets"][int(wildcards["dataset_idx"])]
        return [self._files[name]] if name in self._files else []

    def model_types(self, run: Run) -> list[str]:
        """The configured model types of a run."""
        return settings.model_types(self.config, sections.without_variant(run.section))

    def replicates(self, run: Run) -> list[Run]:
        """The replicates of a run: all its seeds but the first. Section 2.3 uses only the first few seeds."""
        most = None if run.kind.has_epochs else self.config["merge_kan"]["seeds"]
        return [run.replicate(seed) for seed in self.config["seeds"][1:most]]

    def deliverables(self, run: Run) -> list[str]:
        """All files of a run, including those of its replicates."""
        return run.deliverables(len(self.datasets), self.model_types(run)) + self.replicate_frames(run)

    def replicate_frames(self, run: Run, model_types: Sequence[str] | None = None) -> list[str]:
        """The frames of the replicates of a run; for all its model types, or for these."""
        shared = len(self.datasets), model_types or self.model_types(run)
        return [file for replicate in self.replicates(run) for file in replicate.deliverables(*shared)]

    def figures(self, run: Run, *formats: str) -> list[str]:
        """The figure files of a run, in the given formats or all."""
        figures, formats = figures_of(run.section, self._inputs), formats or FORMATS
        return [f"{run.figure_folder}/{figure.name}.{suffix}" for figure in figures for suffix in formats]

    def tables(self, run: Run, *formats: str) -> list[str]:
        """The table files of a run, in the given formats or all."""
        return run.table_files(*formats, names=tables_of(run.section, self.config["datasets"]))

    def results(self, section: str) -> list[str]:
        """All results of the current run of a section."""
        run = self.run(section)
        return [*self.deliverables(run), *self.figures(run), *self.tables(run)]

    def table_inputs(self, run: Run) -> list[str]:
        """The inputs of tables: the frames of all seeds, each in its first format, and the checkpoint metadata."""
        frames = run.kind.frame_names or self.model_types(run)
        seeds = [run, *self.replicates(run)]
        return [*(seed.frame(frame) for seed in seeds for frame in frames), run.checkpoint_metadata()]

    def figure_reports(self, run: Run) -> dict[str, ReportArguments]:
        """The PNG figures of a run, each with its arguments for Snakemake's `report`."""
        shown = zip(self.figures(run, "png"), figures_of(run.section, self._inputs), strict=True)
        return {
            path: _report(run, title := KINDS[figure.kind].title, title, figure.kind, figure.dataset or "all")
            for path, figure in shown
        }

    def table_reports(self, run: Run) -> dict[str, ReportArguments]:
        """The HTML tables of a run, each with its arguments for Snakemake's `report`."""
        titles = {naming.STATEMENTS: "Statements", PUBLISHED: "Published figures"}
        return {
            path: _report(run, "Tables", titles.get(name, "Results"), PUBLISHED if name == PUBLISHED else "tables")
            for path in self.tables(run, "html")
            for name in [Path(path).stem]
        }

    def records(self, run: Run, model_types: Sequence[str], datasets: Iterable[int | str] | None = None) -> list[str]:
        """The training records of these model types on these datasets, by default all."""
        on = self.datasets if datasets is None else datasets
        return [run.record(run.training(model_type, i)) for model_type in model_types for i in on]

    def replicate_records(
        self, run: Run, model_types: Sequence[str], datasets: Sequence[int | str] | None = None
    ) -> list[str]:
        """The training records of the replicates; otherwise as `records`."""
        return [path for replicate in self.replicates(run) for path in self.records(replicate, model_types, datasets)]

    def _merging(self, wildcards: Wildcards) -> Run:
        return self._run("section2_3", wildcards["timestamp"]).replicate(_seed(wildcards))

    def _expert_records(self, wildcards: Wildcards, dataset_idx: int | str) -> list[str]:
        """The training records of the experts to merge on a dataset, for the job's seed."""
        run, trained = self._merging(wildcards), experts(self.config, _seed(wildcards))
        return [run.record(run.expert(dataset_idx, *numbers)) for numbers in trained]

    @property
    def expert_kinds(self) -> list[tuple[int, int]]:
        """Hidden layers and order of the experts of each seed, (depth, k)."""
        return list(dict.fromkeys((depth, k) for depth, k, _ in experts(self.config)))

    def experts_of_seed(self, run: Run) -> list[str]:
        """The names of the experts that one job trains together, with wildcards for dataset and seed."""
        return [run.expert("{dataset_idx}", depth, k, "{seed}") for depth, k in self.expert_kinds]

    def merge_inputs(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Inputs of merging: the records and checkpoints of the experts."""
        records = self._expert_records(wildcards, wildcards["dataset_idx"])
        bases = [record.removesuffix(".json") for record in records]
        return {"experts": records, "checkpoints": [f"{base}_{file}" for base in bases for file in CHECKPOINT_FILES]}

    def control_inputs(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Inputs of a control: the records of its merged model and of the experts."""
        run, index = self._merging(wildcards), wildcards["dataset_idx"]
        return {
            "merged": [run.record(run.training("merge_kan", index))],
            "experts": self._expert_records(wildcards, index),
        }

    def merge_frame_inputs(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Inputs of a frame of section 2.3: training records, by command-line option."""
        run, frame = self._merging(wildcards), wildcards["frame"]
        inputs = {"experts": [record for i in self.datasets for record in self._expert_records(wildcards, i)]}
        if frame != "experts":
            inputs["merged"] = self.records(run, self.model_types(run))
        if frame == "summary":
            inputs["controls"] = self.records(run, [CONTROL])
        return inputs

    # The settings of a training are passed to its command as one line of JSON. If the line has changed, Snakemake
    # trains again. For this comparison they must be functions of the wildcards alone.

    def training_settings(self, wildcards: Wildcards) -> str:
        model_type, dataset_idx = wildcards["model_type"], int(wildcards["dataset_idx"])
        section = sections.section_with(model_type)
        return canonical_json(settings.training_settings(self.config, section, model_type, dataset_idx))

    def expert_settings(self, wildcards: Wildcards) -> list[str]:
        """The settings of `experts_of_seed`, in the same order."""
        dataset_idx, seed = int(wildcards["dataset_idx"]), int(wildcards["seed"])
        made = (settings.expert_settings(self.config, dataset_idx, *kind, seed) for kind in self.expert_kinds)
        return [canonical_json(each) for each in made]

    def merge_settings(self, wildcards: Wildcards) -> str:
        return canonical_json(settings.merge_settings(self.config, int(wildcards["dataset_idx"]), _seed(wildcards)))

    def control_settings(self, wildcards: Wildcards) -> str:
        return canonical_json(settings.control_settings(self.config, int(wildcards["dataset_idx"]), _seed(wildcards)))

    def title(self, path: str) -> str:
        """Describe the job that makes a file: `L-BFGS on poisson_2d_sin`."""
        name = naming.parse(path)
        made = name.frame or name.model_type
        subject = NOUNS.get(made, model_label(made)) if made else f"Section {sections.number_of(name.run.section)}"
        dataset = "" if name.dataset_idx is None else f" on {self.config['datasets'][name.dataset_idx]}"
        detail = ""
        if name.expert:
            detail = f" (seed {name.expert[-1]})"
        elif name.run.seed is not None:  # in Sections 2.1 and 2.2, one job trains with all of them
            detail = " (further seeds)" if name.run.kind.has_epochs else f" (seed {name.run.seed})"
        return f"{subject}{dataset}{detail}"

    @property
    def target_rules(self) -> tuple[str, ...]:
        """The valid targets other than result files: rules and the summary page."""
        return ("all", *SECTIONS, "seeds", "figures", self.page)

    def check_targets(self, targets: Sequence[str]) -> None:
        """Reject unknown targets, naming similar ones; Snakemake would only say that no rule makes them.

        Raises:
            InputError: A target is unknown; names it and its invalid part.
        """
        if "seeds" in targets and not any(self.replicates(self.run(name)) for name in self.config["sections"]):
            allowed = "at least two seeds (for Section 2.3, merge_kan.seeds)"
            raise InputError("target 'seeds'", f"seeds: {self.config['seeds']}", allowed)
        for target in targets:
            if target not in self.target_rules:
                self._check_file(target)

    def _check_file(self, target: str) -> None:
        if "/" not in target and "." not in target:
            rules = ", ".join(self.target_rules)
            raise InputError("target", f"{target!r}", f"{rules}, or the path of a result file")
        if not naming.is_name(target):
            raise self._no_such_result(target, self._files_like(target))
        name, seeds = naming.parse(target), self.config["seeds"]
        run, expert = name.run, name.expert and "d{}_k{}_s{}".format(*name.expert)
        sections.check_variant(target, run.section, self.config["variant"])
        configured = ["d{}_k{}_s{}".format(*numbers) for seed in seeds for numbers in experts(self.config, seed)]
        for part, found, allowed in (
            ("dataset", name.dataset_idx, self.datasets),
            ("seed", run.seed, seeds[1:]),
            ("expert", expert, configured),
        ):
            if found is not None and found not in allowed:
                raise InputError(target, f"{part} {found}", choices(found, allowed) or f"no {part}: none is configured")
        made = [*run.deliverables(len(self.datasets)), *self.tables(run), *self.figures(run)]
        if name.dataset_idx is not None:
            made.append(run.record(name.training))
        if expert:
            made += [f"{run.expert_checkpoint(name.training)}_{file}" for file in CHECKPOINT_FILES]
        if target not in made:
            raise self._no_such_result(target, made)

    def _files_like(self, target: str) -> list[str]:
        """The files of all sections, with the timestamp and epochs of a target if it has them, and the page."""
        timestamp, epochs = re.search(sections.TIMESTAMP, target), re.search(rf"_e({naming.EPOCHS})[_/]", target)
        run = timestamp[0] if timestamp else self.timestamp, epochs[1] if epochs else self.config["epochs"]
        files = [self.page]
        for of in (self._run(section, *run) for section in SECTIONS):
            files += [*self.deliverables(of), *self.tables(of), *self.figures(of)]
            files += self.records(of, self.model_types(of))
        return files

    def _no_such_result(self, target: str, known: Sequence[str]) -> InputError:
        allowed = f"{choices(target, known)}; snakemake --summary lists those of the current run"
        return InputError(target, allowed=allowed, problem="no such result")

    def is_pinned(self, targets: Sequence[str]) -> bool:
        """Whether to pin the timestamp. Not if only files are requested: their names contain their timestamps."""
        chosen = self.config["timestamp"] in CHOSEN
        return chosen and (not targets or not set(targets).isdisjoint(self.target_rules))


def _seed(wildcards: Wildcards) -> int | None:
    """The seed of a job for a replicate; None for the first seed."""
    return None if wildcards.get("seed") is None else int(wildcards["seed"])


def _report(run: Run, subcategory: str, figure: str, caption: str, dataset: str = "all") -> ReportArguments:
    return {
        "category": f"{sections.number_of(run.section)} {run.kind.question}",
        "subcategory": subcategory,
        "labels": {"figure": figure, "dataset": dataset},
        "caption": f"../report/{caption}.rst",
    }
