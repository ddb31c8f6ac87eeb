"""What may be asked for by name: checks of the workflow's targets. Imports nothing heavy: the Snakefile reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kanbench.errors import InputError
from kanbench.plan.naming import CHECKPOINT_FILES, Run, parse, parse_folder
from kanbench.plan.sections import WITHOUT_EPOCHS, with_variant, without_variant


def check_target(
    target: str,
    rules: Iterable[str],
    n_datasets: int,
    experts: Iterable[tuple[int, int, int]],
    seeds: Sequence[int] = (),
    variant: str | None = None,
) -> None:
    """Check that `target` is one of `rules`, or the path of a file of a run.

    Parameters
    ----------
    experts : iterable of (hidden layers, order, seed)
        Those that are configured, for all seeds.
    seeds : sequence of int
        Those that are configured, but the first.
    variant : str or None
        The one that is configured.

    Raises
    ------
    InputError
        Says which part of the name is wrong.
    """
    if target in rules:
        return
    if "/" not in target and "." not in target:
        raise InputError("target", f"{target!r}", f"{', '.join(rules)}, or the path of a file of a run")
    name = parse_folder(target) or parse(target)
    run, index = name.run, name.dataset_idx
    check_variant(target, run, variant)
    if run.epochs is None and without_variant(run.section) not in WITHOUT_EPOCHS:
        raise InputError(target, "no epochs", f"{run.section}_{run.timestamp}_eEPOCHS_…")
    if index is not None and index >= n_datasets:
        raise InputError(target, f"dataset {index}", f"0 to {n_datasets - 1}")
    if run.seed is not None and run.seed not in seeds:
        allowed = f"{', '.join(map(str, seeds)) or 'none'}, the configured seeds but the first"
        raise InputError(target, f"seed {run.seed}", allowed)
    if name.expert is not None and name.expert not in experts:
        raise InputError(f"{target}: found an expert that is not configured; allowed: " + _experts(experts))
    if name.expert is not None:
        training = run.expert(index, *name.expert)
        base = run.expert_checkpoint(training)
        allowed = [run.record(training), *(f"{base}_{file}" for file in CHECKPOINT_FILES)]
    else:
        trainings = [run.training(name.model_type, index)] if index is not None else []
        allowed = [*run.deliverables(n_datasets), *run.tables(), *map(run.record, trainings)]
    if target not in allowed:
        right = next((file for file in allowed if Path(file).name == Path(target).name), None)
        if Path(target).parent.name == run.name:
            right = ", ".join(run.tables())
        raise InputError(target, allowed=right or run.folder + "/…", problem="no such result")


def check_variant(path: str, run: Run, variant: str | None) -> None:
    """Check that a name is one of the configured variant's: no other configuration makes what the name says.

    Raises
    ------
    InputError
        It is not.
    """
    configured = with_variant(without_variant(run.section), variant)
    if run.section != configured:
        raise InputError(
            path,
            f"{run.section}; allowed with this configuration: {configured} (variant: "
            f"{('null' if variant is None else variant)}); others need their own",
        )


def _experts(experts: Iterable[tuple[int, int, int]]) -> str:
    return ", ".join(f"d{depth}_k{k}_s{seed}" for depth, k, seed in experts)
