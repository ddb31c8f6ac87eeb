"""Check checkpoints: that they are read, and give back the losses that are recorded for them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kan import KAN
from torch import Tensor

from kanbench.errors import InputError
from kanbench.network.pykan import PREDICTION_CHUNK, count_parameters, load_checkpoint, predict
from kanbench.plan.config import Config
from kanbench.plan.naming import Run
from kanbench.plan.settings import as_dict, digest, merge_settings, training_settings
from kanbench.problems.poisson import PROBLEMS
from kanbench.problems.samples import make_dataset
from kanbench.storage.derive import Frames, threshold_rows
from kanbench.storage.training_record import VARYING, read_record
from kanbench.storage.verification.findings import Findings

# How far roots of mean squares may be apart, relative to those of the targets or, where these are larger, of the terms
# that the outputs are sums of (rounding, which is all that is left of a loss near zero), and to themselves. Recorded
# losses are those of the engine that trained, these are of pykan's forward; on one machine they were within 1e-16 and
# 1e-12 (float64), 3e-8 and 6e-5 (float32).
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-6}
RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-3}


def check_checkpoint(
    run: Run,
    model_type: str,
    dataset_idx: int,
    checkpoint: str,
    row: dict[str, Any],
    frames: Frames,
    config: Config | None,
    findings: Findings,
) -> None:
    """Read a checkpoint and compare it with its row of the metadata."""
    base = run.checkpoint(model_type, dataset_idx, checkpoint)
    with findings.faults_of_reading():
        settings = _settings(run, model_type, dataset_idx, frames, config, findings)
        if checkpoint == "at_threshold" and settings is not None:
            _check_threshold(run, model_type, dataset_idx, row, frames, settings, findings)
        _check_losses(base, load_checkpoint(base), row, _name_of(frames, dataset_idx), settings, findings)


def _check_threshold(run, model_type, dataset_idx, row, frames, settings, findings) -> None:
    """Check that the epoch is the one that the settings' rule finds in the frame."""
    frame = frames.get(model_type, frames.get("grid_history"))
    rows = threshold_rows(frame[frame["dataset_idx"] == dataset_idx], **settings["threshold"])
    epoch = int(rows["epoch"].iloc[0]) if len(rows) else 0
    if (found := row.get("epoch")) != epoch:
        findings.fault(
            run.checkpoint_metadata(),
            f"{model_type}, dataset {dataset_idx}, at_threshold: epoch {found}, but the threshold is {epoch}",
        )


def _check_losses(base, model, row, name, settings, findings) -> None:
    device = re.search(r"^device: (.*)$", Path(f"{base}_config.yml").read_text(), re.MULTILINE)
    if device is None or device[1] != "cpu":
        found = device and device[1]
        findings.fault(f"{base}_config.yml", f"device: found {found!r}; allowed: cpu, so that any machine reads it")
    if count_parameters(model) != row.get("num_params"):
        findings.fault(f"{base}_state", f"{count_parameters(model)} parameters, recorded are {row.get('num_params')}")
    problem = PROBLEMS.get(name)
    if problem is None:
        findings.note(f"{base}: {name} is not a problem of this version, so that no loss was computed")
        return
    if not isinstance(model.cache_data, Tensor) or model.cache_data.shape[1:] != (problem.dim,):
        findings.fault(f"{base}_cache_data", f"allowed: the training inputs, of {problem.dim} columns")
        return
    wanted = model.cache_data.dtype if settings is None else getattr(torch, settings["dtype"])
    types = {"cache_data": model.cache_data.dtype, "state": model.act_fun[0].coef.dtype}
    if other := {file: dtype for file, dtype in types.items() if dtype != wanted}:
        for file, dtype in other.items():
            findings.fault(f"{base}_{file}", f"found {dtype}; allowed: {wanted}, which the model was trained in")
        return
    inputs = {"train_loss": model.cache_data.detach().numpy()}
    if settings is not None:
        data = make_dataset(problem, **settings["data"], dtype=settings["dtype"])
        inputs |= {"test_loss": data.test_input, "dense_mse": data.dense_input}
        if not np.array_equal(data.train_input, inputs["train_loss"]):
            findings.fault(f"{base}_cache_data", "not the training inputs that its settings describe")
    for metric, samples in inputs.items():
        x, target = torch.from_numpy(samples), torch.from_numpy(problem.target(samples))
        loss = (predict(model, x) - target).square().mean().item()
        if not _agree(loss, row.get(metric), target) and not _agree(loss, row.get(metric), terms(model, x)):
            findings.fault(f"{base}_state", f"{metric} is {loss!r}, recorded is {row.get(metric)!r}")


@torch.no_grad()
def terms(model: KAN, x: Tensor) -> Tensor:
    """The sum of the absolute values of what the last layer's edges add to the output, shape (n, outputs).

    They may cancel: a model that has learnt a target of 1e-19 may do it as a difference of numbers near 0.01.
    """
    sums = []
    for inputs in x.split(PREDICTION_CHUNK):
        values = inputs
        for layer in model.act_fun:
            values, _, post_activations, _ = layer(values)
        sums.append(post_activations.abs().sum(dim=2))
    return torch.cat(sums)


def _agree(loss: float, recorded: Any, of_size: Tensor) -> bool:
    """Whether two losses are the same, up to rounding of numbers as large as those of a tensor."""
    if not isinstance(recorded, (int, float)) or not math.isfinite(loss):
        return False
    scale = of_size.square().mean().sqrt().item()
    found, wanted = math.sqrt(loss), math.sqrt(max(recorded, 0))
    return abs(found - wanted) <= RELATIVE[of_size.dtype] * wanted + ROUNDING[of_size.dtype] * scale


def _name_of(frames: Frames, dataset_idx: int) -> str | None:
    for frame in frames.values():
        if {"dataset_idx", "dataset_name"} <= set(frame.columns):
            names = frame.loc[frame["dataset_idx"] == dataset_idx, "dataset_name"]
            if len(names):
                return str(names.iloc[0])
    return None


def _settings(
    run: Run, model_type: str, dataset_idx: int, frames: Frames, config: Config | None, findings: Findings
) -> dict[str, Any] | None:
    """The settings of a training: from what it handed over or, if its digest is the recorded one, the configuration."""
    frame = frames.get(model_type, frames.get("grid_history"))
    recorded = ((frame.attrs.get("provenance") if frame is not None else None) or {}).get("config_digest")
    path = run.record(run.training(model_type, dataset_idx))
    if Path(path).exists():
        settings = read_record(path).get("settings")
        if isinstance(settings, dict) and _digest(settings) == recorded:
            return settings
        findings.fault(path, "its settings are not those that the frame was made with")
    if config is not None:
        of = merge_settings(config, dataset_idx) if run.epochs is None else None
        try:
            settings = as_dict(of or training_settings(config, run.section, model_type, dataset_idx))
        except InputError:  # the configuration has fewer datasets
            settings = {}
        if settings and _digest(settings) == recorded:
            return settings
    findings.note(
        f"{run.name}, {model_type}: test_loss and dense_mse of its checkpoints were not computed: {path} is gone, and "
        "the configuration is not the one that the run was made with"
    )
    return None


def _digest(settings: dict[str, Any]) -> str:
    return digest({key: value for key, value in settings.items() if key not in VARYING})
