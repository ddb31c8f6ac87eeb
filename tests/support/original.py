"""Small stand-ins of runs as the original study's scripts write them, one for each peculiarity.

Made by plain pandas, pickle, torch and pykan. What is recorded of a model is true of its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from kan import KAN

from support.original_trainings import EPOCHS, TWO, Network, Training, pruned, trained, trained_network

STAMP = "20251024_000314"
OPTIMIZERS = {"adam": "Adam", "lbfgs": "LBFGS", "lm": "LM"}
APPROACHES = {"adaptive_only": "adaptive_only", "adaptive_regular": "adaptive+regular", "baseline": "baseline"}
TIMES = {"lbfgs_threshold_time": 0.75, "baseline_threshold_time": None}
Rows = list[dict[str, Any]]
Metadata = dict[str, dict[int, dict[str, dict[str, Any]]]]


def history(training: Training, dataset_idx: int, restarts: bool = False, **more: Any) -> Rows:
    """The rows of a KAN's training; with `restarts` the epochs begin anew in every grid."""
    rows: Rows = []
    for stage in training.stages:
        for epoch, (train, test) in enumerate(zip(stage.train_losses, stage.test_losses, strict=True)):
            row = {"dataset_idx": dataset_idx, "dataset_name": training.dataset, "grid_size": stage.grid_size}
            row |= {"epoch": epoch if restarts else len(rows), "train_loss": train, "test_loss": test}
            row |= {"dense_mse": stage.dense_mse, "total_time": stage.total_time}
            row |= {"time_per_epoch": stage.total_time / EPOCHS, "num_params": stage.num_params}
            rows.append(row | more)
    return rows


def metrics(training: Training, **more: Any) -> dict[str, dict[str, Any]]:
    """The metadata of a KAN's checkpoints: the threshold is the last epoch of the first grid."""
    first, last = training.stages[0], training.stages[-1]
    rows = {}
    for name, stage, epoch, time in (
        ("at_threshold", first, EPOCHS - 1, first.total_time / EPOCHS),
        ("final", last, len(training.stages) * EPOCHS - 1, sum(stage.total_time for stage in training.stages)),
    ):
        row = {"epoch": epoch, "time": time, "train_loss": stage.train_losses[-1], "test_loss": stage.test_losses[-1]}
        row |= {"dense_mse": stage.dense_mse, "grid_size": stage.grid_size, "num_params": stage.num_params}
        rows[name] = row | ({"grid_idx": 0} if name == "at_threshold" else {}) | more
    return rows


def save_frames(folder: Path, stem: str, frames: dict[str, Rows], newest: bool = False, **attrs: Any) -> None:
    """The newest writes parquet, too, where pyarrow takes the columns: losses in arrays it does not."""
    folder.mkdir(parents=True, exist_ok=True)
    section, timestamp = re.fullmatch(r"(\w+)_(\d{8}_\d{6})(?:_e\d+)?", stem).groups()
    for name, rows in frames.items():
        frame = pd.DataFrame(rows)
        frame.attrs = {"section": section, "timestamp": timestamp, "epochs": EPOCHS, "device": "cpu"}
        frame.attrs |= {**attrs, "model_type": name}
        frame.to_pickle(folder / f"{stem}_{name}.pkl")
        with contextlib.suppress(pa.ArrowException):
            if newest and rows:
                frame.to_parquet(folder / f"{stem}_{name}.parquet")


def save_kan(model: KAN, base: Path, numpy: int = 2, device: str = "cpu") -> None:
    """With pykan's own `saveckpt`, whose YAML spells numpy's numbers as numpy 1 or 2 does."""
    model.saveckpt(str(base))
    config = base.with_name(f"{base.name}_config.yml")
    text = re.sub(r"numpy\._?core\.", "numpy.core." if numpy == 1 else "numpy._core.", config.read_text())
    config.write_text(text.replace("device: cpu", f"device: {device}"))


def save_metadata(folder: Path, stem: str, metadata: Metadata) -> None:
    (folder / f"{stem}_checkpoint_metadata.pkl").write_bytes(pickle.dumps(metadata))


def optimizers(
    results: Path,
    *,
    newest: bool = True,
    datasets: tuple[str, ...] = TWO,
    change: Callable[[str, Rows], Any] | None = None,
    names: tuple[str, ...] = ("adam", "lbfgs", "lm"),
    section: str = "section2_1",
    folder: str = "sec1_results",
    device: str = "cpu",
    **columns: Any,
) -> str:
    """A run of Section 2.1; `change` changes the rows of a model type in place, before they are written."""
    stem, place = f"{section}_{STAMP}" + f"_e{EPOCHS}" * newest, results / folder
    trainings = {name: [trained(OPTIMIZERS[name], dataset) for dataset in datasets] for name in names}
    frames, metadata = {}, {}
    for name, of_name in trainings.items():
        label = {"optimizer": OPTIMIZERS[name]}
        frames[name] = [row for i, t in enumerate(of_name) for row in history(t, i, **label, **columns)]
        metadata[name] = {i: metrics(training, **label) for i, training in enumerate(of_name)}
        if change:
            change(name, frames[name])
            change(name, [row for per_dataset in metadata[name].values() for row in per_dataset.values()])
    save_frames(place, stem, frames, newest, device=device, **(TIMES if newest else {}))
    if newest:
        save_metadata(place, stem, metadata)
    for name, of_name in trainings.items():
        for i, training in enumerate(of_name):
            for checkpoint in ("_at_threshold", "_final") if newest else ("",):  # both are the final model
                save_kan(training.model, place / f"{stem}_{name}_{i}{checkpoint}", 2 if newest else 1, device)
    return section


def optimizers_newest(results: Path) -> str:
    """Names with epochs, times of thresholds, metadata, two checkpoints of each model, YAML of numpy 2."""
    return optimizers(results)


def optimizers_older(results: Path) -> str:
    """Names without epochs, only two of the model types, one checkpoint without a name, YAML of numpy 1."""
    return optimizers(results, newest=False, names=("adam", "lm"))


def optimizers_cuda(results: Path) -> str:
    """Trained on a GPU, whose name stays in the checkpoints' configuration."""
    return optimizers(results, newest=False, device="cuda")


SHALLOW = {"dimension": 3, "architecture_type": "shallow"}


def shallow_newest(results: Path) -> str:
    more = {**SHALLOW, "architecture": "[3, 2, 1]", "section": "section2_1_highd_3d_shallow"}
    return optimizers(results, datasets=("poisson_3d_sin",), names=("lbfgs", "lm"), **more)


def shallow_older(results: Path) -> str:
    """In a folder named after the variant; the architecture with pykan's pairs of nodes and products."""
    more = {**SHALLOW, "architecture": "[[3, 0], [2, 0], [1, 0]]", "section": "section2_1_highd_3d_shallow"}
    more |= {"newest": False, "folder": "secshallow_results"}
    return optimizers(results, datasets=("poisson_3d_sin",), names=("lbfgs", "lm"), **more)


def approaches(results: Path, newest: bool = True) -> str:
    """Section 2.2, where all nodes are important, and the first grid has none yet."""
    stem, place = f"section2_2_{STAMP}" + f"_e{EPOCHS}" * newest, results / "sec2_results"
    frames: dict[str, Rows] = {}
    for name, approach in APPROACHES.items():
        more = {"approach": approach, "attribution_threshold": None if name == "baseline" else 0.01}
        frames[name] = [row for i, d in enumerate(TWO) for row in history(trained("Adam", d), i, **more)]
        for row in frames[name] if name != "baseline" else []:
            neurons = np.nan if row["grid_size"] == 3 else 4.0
            row |= {"important_neurons": neurons, "total_neurons": neurons}
    save_frames(place, stem, frames, newest, **(TIMES | {"baseline_threshold_time": 0.75} if newest else {}))
    for name in APPROACHES:
        for i, dataset in enumerate(TWO):
            for checkpoint in ("_at_threshold", "_final") if newest else ("",):
                save_kan(trained("Adam", dataset).model, place / f"{stem}_{name}_{i}{checkpoint}")
    if newest:
        per_dataset = {a: {i: metrics(trained("Adam", d), approach=a) for i, d in enumerate(TWO)} for a in APPROACHES}
        save_metadata(place, stem, per_dataset)
    return "section2_2"


def approaches_older(results: Path) -> str:
    return approaches(results, newest=False)


def merging(results: Path, datasets: tuple[str, ...] = TWO, highd: bool = False) -> str:
    """Section 2.3: a history without epochs, and checkpoints called `merged_kans`."""
    section = "section2_3_highd_4d" if highd else "section2_3"
    stem, place, frames = f"{section}_{STAMP}", results / "sec3_results", {}
    for i, dataset in enumerate(datasets):
        training = trained("LBFGS", "poisson_2d_" + dataset.rsplit("_", 1)[1])
        last = training.stages[-1]
        of_it = {"dimension": 4} if highd else {"dataset_idx": i}
        of_it |= {"dataset_name": dataset}
        counts = {"n_experts_trained": 2, "n_experts_selected": 1, "merged_dense_mse": last.dense_mse}
        counts |= {"merged_num_params": last.num_params, "grids_completed": len(training.stages)}
        frames.setdefault("summary", []).append(of_it | counts)
        for seed in (0, 1):
            expert = {"depth": 2, "k": 3, "seed": seed, "dense_mse": 2.0 - seed, "dependencies": "(0, 1)"}
            chosen = {"num_params": 560, "train_time": 1.5, "selected": seed == 1}
            frames.setdefault("experts", []).append(of_it | expert | chosen)
        frames.setdefault("selected_experts", []).append(of_it | expert)
        for stage in training.stages:
            losses = {"final_train_loss": stage.train_losses[-1], "final_test_loss": stage.test_losses[-1]}
            frames.setdefault("grid_history", []).append(of_it | {"grid_size": stage.grid_size} | losses)
    save_frames(place, stem, frames, epochs=None)
    for i, dataset in enumerate(() if highd else datasets):
        save_kan(trained("LBFGS", dataset).model, place / f"{stem}_merged_kans_{i}", numpy=1)
    return section


def merging_highd(results: Path) -> str:
    """Datasets without an index, in the order of their names; no checkpoints."""
    return merging(results, ("poisson_4d_poly", "poisson_4d_sin"), highd=True)


def mlp_rows(network: Network, dataset_idx: int, dataset: str, time: float, **more: Any) -> Rows:
    """The rows of one configuration, whose epochs begin at 0."""
    epochs = len(network.losses)
    ending = {"dense_mse": network.dense_mse, "total_time": time, "time_per_epoch": time / epochs}
    ending |= {"num_params": network.num_params}
    named = {"dataset_idx": dataset_idx, "dataset_name": dataset, **more}
    losses = enumerate(network.losses)
    return [{**named, "epoch": e, "train_loss": train, "test_loss": test, **ending} for e, (train, test) in losses]


def section_1(results: Path, *, newest: bool, datasets: tuple[str, ...] = TWO, kans: bool = True) -> str:
    """MLPs and SIRENs of several configurations, KANs, and KANs that were pruned in the end."""
    stem, place = f"section1_1_{STAMP}" + f"_e{EPOCHS}" * newest, results / "sec1_results"
    frames: dict[str, Rows] = {"mlp": [], "siren": [], "kan": [], "kan_pruning": []}
    metadata: Metadata = {name: {} for name in frames}
    weights, models = {}, {}
    for i, dataset in enumerate(datasets):
        for name, activations in (("mlp", ("tanh", "silu")), ("siren", ("sine",))):
            found = {(depth, a): trained_network(dataset, depth, a) for depth in (2, 3) for a in activations}
            of_each = {}
            for (depth, activation), network in found.items():
                more = {"depth": depth, **({"activation": activation} if name == "mlp" else {})}
                of_each[depth, activation] = mlp_rows(network, i, dataset, 0.25, **more)
                frames[name] += of_each[depth, activation]
            best = min(found, key=lambda configuration: found[configuration].dense_mse)
            weights[name, i] = found[best].weights
            kept = ("dense_mse", "depth", "activation", "train_loss", "test_loss", "total_time", "num_params")
            metadata[name][i] = {"final": {key: value for key, value in of_each[best][-1].items() if key in kept}}
        if kans:
            training, small = trained("LBFGS", dataset), pruned("LBFGS", dataset)
            rows = history(training, i, restarts=newest, is_pruned=False)
            ending = {
                "epoch": EPOCHS * len(training.stages),
                "is_pruned": True,
                "total_time": 0.01,
                "time_per_epoch": 0,
            }
            ending |= {key: getattr(small, key) for key in ("train_loss", "test_loss", "dense_mse", "num_params")}
            frames["kan"] += rows
            frames["kan_pruning"] += [*rows, rows[-1] | ending]
            models |= {("kan", i): training.model}
            models |= {("kan_pruning", i): training.model} if newest else {("pruned", i): small.model}
            for name in ("kan", "kan_pruning"):  # the newest keeps nothing of the pruned model but its row
                metadata[name][i] = metrics(training)
                metadata[name][i]["final"] |= {"epoch": EPOCHS * len(training.stages)}
    if newest:
        for row in [row for rows in frames.values() for row in rows]:
            row |= {"linf_error": 1.5, "h1_seminorm": 2.5}
    save_frames(place, stem, frames, newest, **({"kan_threshold_time": 0.75} if newest else {}))
    for (name, i), state in weights.items():
        for checkpoint in ("_at_kan_threshold_time", "_final") if newest else ("",):
            torch.save(state, place / f"{stem}_{name}_{i}{checkpoint}.pth")
    for (name, i), model in models.items():
        for checkpoint in ("_at_threshold", "_final") if newest else ("",):
            save_kan(model, place / f"{stem}_{name}_{i}{checkpoint}", 2 if newest else 1)
    if newest:
        save_metadata(place, stem, metadata)
    return "section1_1"


def section_1_newest(results: Path) -> str:
    """Epochs that begin anew in every grid; more errors; metadata."""
    return section_1(results, newest=True)


def section_1_older(results: Path) -> str:
    """Epochs counted through the grids; checkpoints without a name, those after pruning called `pruned`."""
    return section_1(results, newest=False)


def section_1_without_kans(results: Path) -> str:
    """Functions of one variable; the frames of the model types that failed are empty."""
    return section_1(results, newest=False, datasets=("sin_freq1",), kans=False)


def _early(results: Path, content: dict[str, Any]) -> str:
    """One pickled dict, and the same in JSON with what it was made with; a folder for models."""
    folder, stem = results / "sec1_results", f"section2_1_{STAMP}"
    (folder / f"{stem}_models").mkdir(parents=True)
    (folder / f"{stem}.pkl").write_bytes(pickle.dumps(content))
    about = {"results": _as_json(content), "meta": {"epochs": EPOCHS, "device": "cpu", "grids": [3, 5]}}
    (folder / f"{stem}.json").write_text(json.dumps(about, indent=2))
    return "section2_1"


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    return [float(item) for item in value] if isinstance(value, list) else value


def early_ensemble(results: Path) -> str:
    return _early(results, {"expert_losses": [0.07, 0.08], "ensemble_mse": 0.07, "mean_uncertainty": 0.0})


def early_optimizers(results: Path) -> str:
    """The histories in dicts by numpy's numbers, and a model in the folder."""
    content: dict[str, Any] = {}
    for name in ("adam", "lm"):
        for i, dataset in enumerate(TWO):
            for stage in trained(OPTIMIZERS[name], dataset).stages:
                kept = {"train": stage.train_losses, "test": stage.test_losses, "total_time": stage.total_time}
                kept |= {"time_per_epoch": stage.total_time / EPOCHS, "num_params": stage.num_params}
                content.setdefault(name, {}).setdefault(np.int64(i), {})[stage.grid_size] = kept
    section = _early(results, content)
    save_kan(trained("Adam", TWO[0]).model, results / "sec1_results" / f"section2_1_{STAMP}_models" / "adam_0")
    return section


ORIGINAL = (
    optimizers_newest,
    optimizers_older,
    optimizers_cuda,
    shallow_newest,
    shallow_older,
    approaches,
    approaches_older,
    merging,
    merging_highd,
    section_1_newest,
    section_1_older,
    section_1_without_kans,
)
EARLY = (early_ensemble, early_optimizers)
