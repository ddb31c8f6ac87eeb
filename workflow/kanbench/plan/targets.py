"""What may be asked for by name: checks of the workflow's targets. Imports nothing heavy: the Snakefile reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kanbench.errors import InputError
from kanbench.plan.naming import CHECKPOINT_FILES, Run, parse, parse_folder
from kanbench.plan.sections import with_variant, without_variant


def check_target(
    target: str,
    rules: Iterable[str],
    n_datasets: int,
    experts: Iterable[tuple[int, int, int]],
    seeds: Sequence[int] = (),
    variant: str | None = None,
) -> None:
    """Reject unknown targets, listing valid ones: `target` is one of `rules`, or the path of a file of a run.

    Args:
        experts (iterable of (hidden layers, order, seed)): Those that are configured, for all seeds.
        seeds (sequence of int): Those that are configured, but the first.
        variant (str or None): The one that is configured.

    Raises:
        InputError: Says which part of the name is wrong.
    """
    if target in rules:
        return
    if "/" not in target and "." not in target:
        raise InputError("target", f"{target!r}", f"{', '.join(rules)}, or the path of a file of a run")
    name = parse_folder(target) or parse(target)
    run, expert = name.run, name.expert
    check_variant(target, run, variant)
    if run.epochs is None and run.kind.has_epochs:
        raise InputError(target, "no epochs", f"{run.section}_{run.timestamp}_eEPOCHS_…")
    if name.dataset_idx is not None and name.dataset_idx >= n_datasets:
        raise InputError(target, f"dataset {name.dataset_idx}", f"0 to {n_datasets - 1}")
    if run.seed is not None and run.seed not in seeds:
        others = f"{', '.join(map(str, seeds)) or 'none'}, the configured seeds but the first"
        raise InputError(target, f"seed {run.seed}", others)
    if expert is not None and expert not in experts:
        configured = ", ".join(f"d{depth}_k{k}_s{seed}" for depth, k, seed in experts)
        raise InputError(target, "d{}_k{}_s{}".format(*expert), configured, problem="an expert that is not configured")
    records = [run.record(name.training)] if name.dataset_idx is not None else []
    if expert is not None:
        base = run.expert_checkpoint(name.training)
        allowed = [*records, *(f"{base}_{file}" for file in CHECKPOINT_FILES)]
    else:
        allowed = [*run.deliverables(n_datasets), *run.table_files(), *records]
    if target not in allowed:
        right = next((file for file in allowed if Path(file).name == Path(target).name), None)
        if Path(target).parent.name == run.name:
            right = ", ".join(run.table_files())
        raise InputError(target, allowed=right or run.folder + "/…", problem="no such result")


def check_variant(path: str, run: Run, variant: str | None) -> None:
    """Check that a name is one of the configured variant's: no other configuration makes what the name says.

    Raises:
        InputError: It is not.
    """
    configured = with_variant(without_variant(run.section), variant)
    if run.section != configured:
        needed = "null" if variant is None else variant
        raise InputError(path, run.section, f"{configured}, which is what this configuration makes (variant: {needed})")
