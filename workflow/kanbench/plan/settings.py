"""The settings of a training: the part of the configuration that its job needs, and nothing else.

If anything else changes, the job is not repeated. The Snakefile imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from kanbench.errors import InputError
from kanbench.plan.config import Config, network_width, problems_of
from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.problems.files import find_problem
from kanbench.problems.source import Source

Number = int | float  # kept as written: 1 and 1.0 have different digests


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings, documented at the configuration keys of the same names.

    A field whose key was renamed keeps its old name in JSON (`rename`). Stored results have digests of this JSON, so a
    new name would make the same settings look different, and they would be trained again.
    """


class Data(Part, frozen=True, omit_defaults=True):
    """Sizes of the samples, and their seed."""

    train_num: int
    test_num: int
    dense_num: int
    seed: int
    valid_num: int = 0


class AdamSettings(Part, frozen=True, tag_field="name", tag="adam"):
    lr: Number


class LBFGSSettings(Part, frozen=True, tag_field="name", tag="lbfgs"):
    lr: Number
    max_iter: int
    max_eval: int
    history_size: int


class LMSettings(Part, frozen=True, tag_field="name", tag="lm"):
    damping: Number
    attempts: int
    geodesic_acceleration: bool
    scaling: Literal["identity", "marquardt"]


class KnotInsertionGrids(Part, frozen=True, tag_field="policy", tag="preserve"):
    sizes: tuple[int, ...]


class RefittedGrids(Part, frozen=True, tag_field="policy", tag="refit"):
    sizes: tuple[int, ...]


class PykanGrids(Part, frozen=True, tag_field="policy", tag="pykan"):
    sizes: tuple[int, ...]
    update_every: int


class UpdatedGrids(Part, frozen=True, tag_field="policy", tag="updates"):
    """Grids of `kanbench.fit`; not available in configurations."""

    sizes: tuple[int, ...]
    update_every: int
    start: int
    stop: int


class AttributionGrids(
    Part,
    frozen=True,
    tag_field="policy",
    tag="importance",
    rename={"score_threshold": "threshold", "refinement_factor": "density"},
):
    sizes: tuple[int, ...]
    approach: Literal["adaptive_only", "adaptive_regular", "baseline"]
    rule: Literal["fraction", "threshold"]
    fraction: Number
    score_threshold: Number
    refinement_factor: Number


class StagnationRule(Part, frozen=True, tag_field="rule", tag="stagnation"):
    epochs: int
    tolerance: Number


class WorseningStagesRule(Part, frozen=True, tag_field="rule", tag="worsening_stages"):
    stages: int


class ThresholdRule(Part, frozen=True):
    patience: int
    tolerance: Number


class Timing(Part, frozen=True):
    """Timing of a training: at most `repeats` times, as long as the total is less than `seconds`."""

    repeats: int
    seconds: Number


class Model(Part, frozen=True):
    width: tuple[int, ...]
    k: int


class Merging(Part, frozen=True, rename={"intermediate_models": "via"}):
    n_selected: int
    weights: Literal["least_squares", "mean"]
    cross_edges: Literal["absent", "zero"]
    intermediate_models: tuple[int, ...]


class Settings(Part, frozen=True, kw_only=True):
    """The settings of any training, without its initial model."""

    problem: str
    source: Source = Source()  # the problem's
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    dtype: Literal["float32", "float64"]
    engine: Literal["auto", "compiled", "torch", "reference"]
    data: Data
    targets: Literal["raw", "standardized"]
    optimizer: AdamSettings | LBFGSSettings | LMSettings
    grids: KnotInsertionGrids | RefittedGrids | PykanGrids | UpdatedGrids | AttributionGrids
    threshold: ThresholdRule
    stop: tuple[StagnationRule | WorseningStagesRule, ...]
    evaluate_every: int
    timing: Timing


class TrainingSettings(Settings, frozen=True, kw_only=True):
    """A training of section 2.1 or 2.2, with its initial model; the epochs per grid are in its name."""

    model: Model


class ExpertSettings(TrainingSettings, frozen=True, kw_only=True):
    """The training of one expert of section 2.3."""

    epochs: int
    dependency_threshold: Number


class MergeSettings(Settings, frozen=True, kw_only=True):
    """The training of the merged model of section 2.3 on one dataset; the experts are inputs."""

    epochs: int
    merge: Merging


class ControlSettings(MergeSettings, frozen=True, kw_only=True, rename={"control_budget": "control"}):
    """The training of the control of a merged model, which is an input."""

    control_budget: Literal["merged", "all"]


S = TypeVar("S", bound=Settings)


def make_settings(kind: type[S], content: str | Mapping[str, Any]) -> S:
    """Make settings of this kind from JSON or a mapping.

    Raises:
        InputError: A key is invalid (names the first one), or the problem does not exist or has changed.
    """
    try:
        made = msgspec.json.decode(content, type=kind) if isinstance(content, str) else msgspec.convert(content, kind)
    except UnicodeEncodeError:
        raise InputError("settings", problem="not UTF-8") from None
    except msgspec.DecodeError as error:
        problem, _, key = str(error).partition(" - at ")
        raise InputError(f"settings{key.strip('`$')}", problem=problem) from None
    find_problem(made.problem, made.source)
    return made


def as_dict(settings: msgspec.Struct) -> dict[str, Any]:
    """Convert to builtin types, as in JSON."""
    return msgspec.to_builtins(settings)


def with_model(settings: Settings, model: Model, sizes: tuple[int, ...]) -> TrainingSettings:
    """Settings for training an initial model on grids of these sizes, otherwise as `settings`."""
    shared = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    shared["grids"] = msgspec.structs.replace(settings.grids, sizes=sizes)
    return TrainingSettings(**shared, model=model)


def model_types(config: Config, section: str) -> list[str]:
    """The configured model types of a section, in its order."""
    every = SECTIONS[section].model_types
    return [name for name in every if section != "section2_1" or name in config["optimizers"]["compared"]]


def training_settings(
    config: Config, section: str, model_type: str, dataset_idx: int, seed: int | None = None
) -> TrainingSettings:
    """The settings of one training of section 2.1 or 2.2.

    Args:
        dataset_idx (int): Index into `datasets`.
        seed (int, optional): The seed of the initial model; by default the first configured one.

    Raises:
        InputError: The dataset does not exist.
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
        policy |= {"rule": density["rule"], "fraction": density["fraction"]}
        policy |= {"threshold": density["score_threshold"], "density": density["refinement_factor"]}
    shared = _shared(config, dataset_idx, seed, optimizer)
    more = {
        "model": {**config["model"], "width": network_width(config, shared["problem"])},
        "grids": {"sizes": grids["sizes"], **policy},
        "stop": [],
        "timing": config["timing"],
    }
    return make_settings(TrainingSettings, shared | more)


def expert_settings(config: Config, dataset_idx: int, depth: int, k: int, seed: int) -> ExpertSettings:
    """The settings of one expert of section 2.3; `seed` is for its initial model."""
    section = config["experts"]
    shared = _shared(config, dataset_idx, seed, section["optimizer"])
    dim = problems_of(config)[shared["problem"]].dim
    stagnation, width = section["stagnation"], [dim, *[section["hidden_width"]] * depth, 1]
    more = {
        "data": _samples(config, valid_num=config["merge_kan"]["valid_num"]),
        "model": {"width": width, "k": k},
        "grids": {"sizes": [section["grid"]], "policy": "preserve"},
        "stop": [{"rule": "stagnation", **stagnation}] if stagnation["epochs"] else [],
        "evaluate_every": section["evaluate_every"],
        "epochs": section["epochs"],
        "dependency_threshold": section["dependency_threshold"],
    }
    return make_settings(ExpertSettings, shared | more)


def merge_settings(config: Config, dataset_idx: int, seed: int | None = None) -> MergeSettings:
    """The settings of the merged model of section 2.3 on one dataset; `seed` is as for `training_settings`."""
    return make_settings(MergeSettings, _merging(config, dataset_idx, seed))


def control_settings(config: Config, dataset_idx: int, seed: int | None = None) -> ControlSettings:
    """The settings of the control of the merged model; arguments as for `merge_settings`."""
    control = {"control": config["merge_kan"]["control_budget"]}
    return make_settings(ControlSettings, _merging(config, dataset_idx, seed) | control)


def _merging(config: Config, dataset_idx: int, seed: int | None) -> dict[str, Any]:
    section = config["merge_kan"]
    more = {
        "data": _samples(config, valid_num=section["valid_num"]),
        "grids": {"sizes": section["grids"], "policy": "preserve"},
        "stop": [{"rule": "worsening_stages", "stages": section["worsening_stages"]}],
        "epochs": section["epochs"],
        "merge": {
            **{key: section[key] for key in ("n_selected", "weights", "cross_edges")},
            "via": section["intermediate_models"],
        },
    }
    return _shared(config, dataset_idx, seed, section["optimizer"]) | more


def _samples(config: Config, **more: int) -> dict[str, Any]:
    return {**{key: config["data"][key] for key in ("train_num", "test_num", "dense_num", "seed")}, **more}


def _shared(config: Config, dataset_idx: int, seed: int | None, optimizer: str) -> dict[str, Any]:
    if dataset_idx >= len(config["datasets"]):
        raise InputError("dataset", dataset_idx, f"0 to {len(config['datasets']) - 1}")
    name = config["datasets"][dataset_idx]
    return {
        "problem": name,
        "source": as_dict(problems_of(config)[name].source),
        "seed": config["seeds"][0] if seed is None else seed,
        **{key: config[key] for key in ("device", "dtype", "engine", "threshold")},
        "data": _samples(config),
        "targets": config["data"]["targets"],
        "optimizer": {"name": optimizer, **config["optimizers"][optimizer]},
        "evaluate_every": 1,
        "timing": {"repeats": 1, "seconds": 0},  # for section 2.3, which compares nothing at equal times
    }


def canonical_json(settings: Settings | Mapping[str, Any]) -> str:
    """Canonical JSON of settings: keys sorted, no spaces, so equal settings give equal text."""
    return json.dumps(msgspec.to_builtins(settings), sort_keys=True, separators=(",", ":"))


def digest(settings: Settings | Mapping[str, Any]) -> str:
    """A truncated SHA-256 of settings, independent of the order of keys."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]
