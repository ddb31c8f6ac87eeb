"""What a job needs of the configuration, and nothing else: when anything else changes, it is not repeated.

This module imports nothing heavy; the Snakefile reads it.
"""

from __future__ import annotations

import hashlib
import json

from kanbench.errors import InputError
from kanbench.plan.config import Config
from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.problems.poisson import PROBLEMS


def model_types(config: Config, section: str) -> list[str]:
    """The model types of a run of a section, in its order."""
    every = SECTIONS[section].model_types
    return [name for name in every if section != "section2_1" or name in config["optimizers"]["compared"]]


def training_settings(
    config: Config, section: str, model_type: str, dataset_idx: int, seed: int | None = None
) -> Config:
    """Everything that defines one training of section 2.1 or 2.2, the epochs per grid aside.

    Parameters
    ----------
    seed : int, optional
        Of the initial model; by default the first of the configured ones.

    Raises
    ------
    InputError
        There is no such dataset.
    """
    grids, density = config["grids"], config["adaptive_density"]
    if without_variant(section) == "section2_1":
        optimizer = model_type
        policy = {"policy": grids["policy"]}
        if grids["policy"] == "pykan":
            policy["update_every"] = grids["update_every"]
    else:
        optimizer = density["optimizer"]
        policy = {"policy": "importance", "approach": model_type}
        policy |= {key: density[key] for key in ("rule", "fraction", "threshold", "density")}
    return {
        **_shared(config, dataset_idx, seed),
        "optimizer": {"name": optimizer, **config["optimizers"][optimizer]},
        "model": config["model"],
        "grids": {"sizes": grids["sizes"], **policy},
        "threshold": config["threshold"],
        "stop": [],
        "evaluate_every": 1,
    }


def expert_settings(config: Config, dataset_idx: int, depth: int, k: int, seed: int) -> Config:
    """Everything that defines the training of one expert of section 2.3; `seed` is that of its initial model."""
    section, shared = config["experts"], _shared(config, dataset_idx, seed)
    stagnation = section["stagnation"]
    dim = PROBLEMS[shared["problem"]].dim
    return {
        **shared,
        "data": {**config["data"], "valid_num": config["merge_kan"]["valid_num"]},
        "optimizer": {"name": section["optimizer"], **config["optimizers"][section["optimizer"]]},
        "model": {"width": [dim, *[section["hidden_width"]] * depth, 1], "k": k},
        "grids": {"sizes": [section["grid"]], "policy": "preserve"},
        "threshold": config["threshold"],
        "stop": [{"rule": "stagnation", **stagnation}] if stagnation["epochs"] else [],
        "evaluate_every": section["evaluate_every"],
        "epochs": section["steps"],
        "dependency_threshold": section["dependency_threshold"],
    }


def merge_settings(config: Config, dataset_idx: int, seed: int | None = None) -> Config:
    """Everything that defines the merged model of section 2.3 on one dataset, its experts aside.

    `seed` is as for `training_settings`.
    """
    section = config["merge_kan"]
    return {
        **_shared(config, dataset_idx, seed),
        "data": {**config["data"], "valid_num": section["valid_num"]},
        "optimizer": {"name": section["optimizer"], **config["optimizers"][section["optimizer"]]},
        "grids": {"sizes": section["grids"], "policy": "preserve"},
        "threshold": config["threshold"],
        "stop": [{"rule": "worsening_stages", "stages": section["worsening_stages"]}],
        "evaluate_every": 1,
        "epochs": section["epochs"],
        "merge": {key: section[key] for key in ("n_selected", "weights", "cross_edges", "via")},
    }


def control_settings(config: Config, dataset_idx: int, seed: int | None = None) -> Config:
    """The same for the control, the merged model aside."""
    return {**merge_settings(config, dataset_idx, seed), "control": config["merge_kan"]["control"]}


def _shared(config: Config, dataset_idx: int, seed: int | None) -> Config:
    if dataset_idx >= len(config["datasets"]):
        raise InputError("dataset", dataset_idx, f"0 to {len(config['datasets']) - 1}")
    return {
        "problem": config["datasets"][dataset_idx],
        "seed": config["seeds"][0] if seed is None else seed,
        **{key: config[key] for key in ("device", "dtype", "engine", "data")},
    }


def canonical_json(settings: Config) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def digest(settings: Config) -> str:
    """A short SHA-256 of settings, the same whatever the order of their keys."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]
