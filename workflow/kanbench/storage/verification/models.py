"""Check checkpoints: they can be read, and reproduce their recorded losses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kan import KAN
from torch import Tensor

from kanbench.errors import InputError
from kanbench.network.pykan import PREDICTION_CHUNK, count_parameters, load_checkpoint, predict
from kanbench.plan.config import Config
from kanbench.plan.settings import as_dict, merge_settings, training_settings
from kanbench.problems import Problem
from kanbench.problems.samples import make_dataset
from kanbench.storage.attrs import provenance_of
from kanbench.storage.conventions import original_samples
from kanbench.storage.derive import threshold_rows
from kanbench.storage.training_record import read_record, settings_digest
from kanbench.storage.verification.metadata import RecordedCheckpoint
from kanbench.storage.verification.report import CheckedRun, VerificationReport

# Tolerances for root mean squared errors. ROUNDING is relative to the root mean square of the targets or, if larger, of
# the terms that are summed to outputs: a loss near zero consists of rounding errors only. RELATIVE is relative to the
# error itself. Recorded losses come from the engine of the training, computed ones from pykan's forward pass; on one
# machine the differences were within 1e-16 and 1e-12 (float64), 3e-8 and 6e-5 (float32).
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-6}
RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-3}


def check_checkpoint(
    checked: CheckedRun, checkpoint: RecordedCheckpoint, config: Config | None, known: Callable[[str], Problem]
) -> None:
    """Read a checkpoint, if it has files, and compare it with its row of the metadata.

    Args:
        known (callable): Returns the problem of this name; `problem_of_run` for this run.
    """
    base = checked.run.checkpoint(checkpoint.model_type, checkpoint.dataset_idx, checkpoint.name)
    if not Path(f"{base}_state").exists():
        return
    with checked.report.collecting():
        settings = None if checked.is_converted else _settings(checked, checkpoint, config)
        if checkpoint.name == "at_threshold" and settings is not None:
            _check_threshold(checked, checkpoint, settings)
        model = load_checkpoint(base)
        _check_model(base, model, checkpoint.row, checked.report)
        _check_losses(base, model, checked, checkpoint, settings, known)


def _check_threshold(checked: CheckedRun, checkpoint: RecordedCheckpoint, settings: dict[str, Any]) -> None:
    """Check that the rule in the settings gives the recorded epoch when applied to the frame."""
    if (history := checked.history(checkpoint.model_type, checkpoint.dataset_idx)) is not None:
        rows = threshold_rows(history, **settings["threshold"])
        epoch = int(rows["epoch"].iloc[0]) if len(rows) else 0
        if (found := checkpoint.row.get("epoch")) != epoch:
            checked.report.fault(checkpoint, f"epoch {found}, but the threshold is {epoch}")


def _check_model(base: str, model: KAN, row: dict[str, Any], report: VerificationReport) -> None:
    device = re.search(
        r"^device: (.*)$", Path(f"{base}_config.yml").read_text(encoding="utf-8", errors="replace"), re.MULTILINE
    )
    if (found := device and device[1]) != "cpu":
        report.fault(f"{base}_config.yml: device", found=repr(found), allowed="cpu, so that any machine reads it")
    if count_parameters(model) != row.get("num_params"):
        report.fault(f"{base}_state", f"{count_parameters(model)} parameters; recorded: {row.get('num_params')}")


def _check_losses(
    base: str,
    model: KAN,
    checked: CheckedRun,
    checkpoint: RecordedCheckpoint,
    settings: dict[str, Any] | None,
    known: Callable[[str], Problem],
) -> None:
    """Recompute the losses with pykan, and compare; without settings, only on the stored training inputs."""
    report, name = checked.report, checked.dataset_names.get(checkpoint.dataset_idx, "")
    try:
        problem = known(name)
    except InputError as error:
        report.note(f"{base}: no loss was computed: {error}")
        return
    if not isinstance(model.cache_data, Tensor) or model.cache_data.shape[1:] != (problem.dim,):
        report.fault(f"{base}_cache_data", allowed=f"the training inputs, of {problem.dim} columns")
        return
    ends = model.act_fun[0].in_dim, model.act_fun[-1].out_dim
    if ends != (problem.dim, 1):
        report.fault(f"{base}_state", found="{} inputs, {} outputs".format(*ends), allowed=f"{problem.dim} and 1")
        return
    if checked.is_converted:
        data = original_samples(name)
        inputs = {"train_loss": data.train_input, "test_loss": data.test_input}
        pairs = {loss: (x := each.astype(np.float32), problem.values(x)) for loss, each in inputs.items()}
        _compare_losses(base, model, checkpoint, pairs, report)
        return
    wanted = model.cache_data.dtype if settings is None else getattr(torch, settings["dtype"])
    types = {"cache_data": model.cache_data.dtype, "state": model.act_fun[0].coef.dtype}
    if other := {file: dtype for file, dtype in types.items() if dtype != wanted}:
        for file, dtype in other.items():
            report.fault(f"{base}_{file}", found=dtype, allowed=f"{wanted}, which the model was trained in")
        return
    x, pairs = model.cache_data.detach().numpy(), {}
    if problem.target is not None:
        pairs["train_loss"] = x, problem.values(x)
    if settings is not None:
        data = make_dataset(problem, **settings["data"], dtype=settings["dtype"])
        pairs["test_loss"], pairs["dense_mse"] = (
            (data.test_input, data.test_label),
            (data.dense_input, data.dense_label),
        )
        if np.array_equal(data.train_input, x):
            pairs["train_loss"] = x, data.train_label
        else:
            report.fault(f"{base}_cache_data", "not the training inputs that its settings describe")
    _compare_losses(base, model, checkpoint, pairs, report)


def _compare_losses(
    base: str,
    model: KAN,
    checkpoint: RecordedCheckpoint,
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
    report: VerificationReport,
) -> None:
    """Compute losses on samples, `{loss: (inputs, targets)}`, and compare them with the recorded ones."""
    for metric, samples in pairs.items():
        x, target = map(torch.from_numpy, samples)
        loss, recorded = (predict(model, x) - target).square().mean().item(), checkpoint.row.get(metric)
        if not _agree(loss, recorded, target) and not _agree(loss, recorded, terms(model, x)):
            report.fault(f"{base}_state", f"{metric} is {loss!r}; recorded: {recorded!r}")


@torch.no_grad()
def terms(model: KAN, x: Tensor) -> Tensor:
    """The sums of the absolute values of the last layer's edges, shape (n, outputs).

    Edges may cancel: a model may represent a target of size 1e-19 as a difference of values near 0.01.
    """
    sums = []
    for inputs in x.split(PREDICTION_CHUNK):
        values = inputs
        for layer in model.act_fun:
            values, _, post_activations, _ = layer(values)
        sums.append(post_activations.abs().sum(dim=2))
    return torch.cat(sums)


def _agree(loss: float, recorded: Any, of_size: Tensor) -> bool:
    """Whether two losses are equal up to rounding errors of numbers of the size in a tensor."""
    if not isinstance(recorded, (int, float)) or not math.isfinite(loss):
        return False
    scale = of_size.square().mean().sqrt().item()
    found, wanted = math.sqrt(loss), math.sqrt(max(recorded, 0))
    return abs(found - wanted) <= RELATIVE[of_size.dtype] * wanted + ROUNDING[of_size.dtype] * scale


def _settings(checked: CheckedRun, checkpoint: RecordedCheckpoint, config: Config | None) -> dict[str, Any] | None:
    """The settings of a training, from its record or the configuration, if their digest is the recorded one."""
    run, which = checked.run, (checkpoint.model_type, checkpoint.dataset_idx)
    history = checked.history(*which)
    recorded = None if history is None else provenance_of(history).get("config_digest")
    path = run.record(run.training(*which))
    if Path(path).exists():
        settings = read_record(path).settings
        if settings_digest(settings) == recorded:
            return settings
        checked.report.fault(path, "its settings are not those of the frame")
    if config is not None and checkpoint.dataset_idx < len(config["datasets"]):
        merge = run.epochs is None
        made = merge_settings(config, which[1]) if merge else training_settings(config, run.section, *which)
        settings = as_dict(made)
        if settings_digest(settings) == recorded:
            return settings
    checked.report.note(
        f"{run.name}, {checkpoint.model_type}: test_loss and dense_mse of its checkpoints were not computed: {path} is "
        "gone, and the configuration is not the one that the run was made with"
    )
    return None
