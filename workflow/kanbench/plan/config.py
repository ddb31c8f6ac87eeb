"""The configuration: reading, normalising and checking it.

Defaults stand in `config/config.yaml` and nowhere else. This module imports nothing heavy; the Snakefile reads it.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kanbench.errors import InputError
from kanbench.plan.devices import has_gpu_driver
from kanbench.plan.naming import MAX_SEED
from kanbench.plan.sections import is_timestamp, is_variant
from kanbench.problems import PROBLEMS

if TYPE_CHECKING:
    import jsonschema

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_CONFIG = ROOT / "config" / "config.yaml"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"

Config = dict[str, Any]

INTEGER = re.compile(r"[+-]?\d+")
TIMESTAMP_DIGITS = 14
BETWEEN_REPLICATES = 1000  # from the seeds of the experts of one seed to those of the next
FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def load_config(path: str | Path = DEFAULT_CONFIG) -> Config:
    """Read a configuration file over the defaults, and check it."""
    config = merge(_read_yaml(DEFAULT_CONFIG), _read_yaml(path))
    return check(config)


def _read_yaml(path: str | Path) -> Config:
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(path, allowed="a YAML file", problem=f"cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, problem=f"not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(path, f"{content!r}", "a mapping")
    return content


def merge(base: Config, over: Config) -> Config:
    """`base` with the values of `over`; mappings are merged, everything else is replaced (as Snakemake does it)."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def check(config: Config) -> Config:
    """Return the configuration in normal form.

    Raises
    ------
    InputError
        Names the first wrong key, what was found and what is allowed.
    """
    config = _normal_numbers(config)
    digits = str(config.get("timestamp"))  # YAML reads 20251024_143022 as the integer 20251024143022
    if isinstance(config.get("timestamp"), int) and len(digits) == TIMESTAMP_DIGITS:
        config["timestamp"] = f"{digits[:8]}_{digits[8:]}"
    if "seed" in config:  # the key of earlier versions, for which there is no hint in the schema
        found = config["seed"]
        seeds = found if isinstance(found, list) else [found]
        raise InputError("config: seed", f"{found!r}", f"seeds, a list: write seeds: {seeds}")
    _check_schema(config)
    _check_finite(config)
    _check_values(config)
    return config


def _normal_numbers(value: Any) -> Any:
    """Turn text that is a number into one.

    YAML 1.1 takes 1e-3 for text unless it has a point, and Snakemake every number of a mapping that is given with
    `--config`, as in `--config 'grids={sizes: [3, 5]}'`.
    """
    if isinstance(value, dict):
        return {key: _normal_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal_numbers(item) for item in value]
    if isinstance(value, str) and INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, str) and FLOAT.fullmatch(value):
        return float(value)
    return value


def _check_schema(config: Config) -> None:
    import jsonschema  # a job is given settings that have been checked

    schema = _read_yaml(SCHEMA)
    validator_class = jsonschema.validators.extend(
        jsonschema.Draft202012Validator,
        type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
            # JSON Schema takes 10.0 for an integer; it would end up in file names as e10.0
            "integer",
            lambda _, value: isinstance(value, int) and not isinstance(value, bool),
        ),
    )
    errors = sorted(validator_class(schema).iter_errors(config), key=lambda error: [str(part) for part in error.path])
    if errors:
        raise InputError(_describe(errors[0]))


def _describe(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = list(error.schema["properties"])
        unknown = next(name for name in error.instance if name not in allowed)
        close = difflib.get_close_matches(str(unknown), allowed, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        path = f"{key}.{unknown}" if key else str(unknown)
        return f"config: unknown key {path!r}{hint}; allowed: {', '.join(allowed)}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"config: key {f'{key}.{missing}' if key else missing!r} is missing"
    return f"config: {key}: found {error.instance!r}; allowed: {error.schema['description']}"


def _check_finite(value: Any, key: str = "") -> None:
    """YAML knows .nan and .inf, and a schema has no words for them."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_finite(item, f"{key}.{name}" if key else name)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config: {key}", value, "a finite number")


def _check_values(config: Config) -> None:
    """What a schema cannot say."""
    timestamp, width = config["timestamp"], config["model"]["width"]
    if timestamp not in ("auto", "new") and not is_timestamp(timestamp):
        raise InputError("config: timestamp", f"{timestamp!r}", "auto, new, or a date and time as YYYYMMDD_HHMMSS")
    if config["variant"] is not None and not is_variant(config["variant"]):
        raise InputError(
            "config: variant",
            f"{config['variant']!r}",
            "null, or small letters, digits and underscores, a letter first and no date and time",
        )
    for name in config["datasets"]:
        if name not in PROBLEMS:
            raise InputError("config: datasets", f"{name!r}", ", ".join(PROBLEMS))
        if PROBLEMS[name].dim != width[0]:
            raise InputError(
                "config: model.width", width, f"a first number of {PROBLEMS[name].dim}, the dimension of {name}"
            )
    if len(set(config["datasets"])) < len(config["datasets"]):
        raise InputError("config: datasets", config["datasets"], "every problem once")
    if width[-1] != 1:
        raise InputError("config: model.width", width, "a last number of 1, the problems' one output")
    for key, grids in (("grids.sizes", config["grids"]["sizes"]), ("merge_kan.grids", config["merge_kan"]["grids"])):
        if any(after <= before for before, after in itertools.pairwise(grids)):
            raise InputError(f"config: {key}", grids, "increasing whole numbers")
    if config["device"] == "cuda" and config["engine"] == "compiled":
        raise InputError("config: engine", "'compiled', which runs on a CPU; allowed on cuda: auto, torch, reference")
    _check_experts(config)


def _check_experts(config: Config) -> None:
    for key in ("depths", "orders", "seeds"):
        values = config["experts"][key]
        if len(set(values)) < len(values):
            raise InputError(f"config: experts.{key}", values, "every number once")
    own = [seed for seeds in _expert_seeds(config).values() for seed in seeds]
    if len(set(own)) < len(own) or max(own) > MAX_SEED:
        raise InputError(
            "config: experts.seeds",
            f"{config['experts']['seeds']}; allowed with {len(config['seeds'])} seeds: numbers that "
            f"are no multiple of {BETWEEN_REPLICATES} apart, of at most {MAX_SEED} when "
            f"{BETWEEN_REPLICATES} is added for every seed but the first",
        )
    count, selected, via = len(experts(config)), config["merge_kan"]["n_selected"], config["merge_kan"]["via"]
    if selected > count:
        raise InputError("config: merge_kan.n_selected", selected, f"1 to {count}, the number of experts")
    first, grid = config["merge_kan"]["grids"][0], config["experts"]["grid"]
    if first < grid:
        raise InputError("config: merge_kan.grids", f"{first} first", f"at least {grid}, the experts' grid")
    if any(after >= before for before, after in itertools.pairwise([selected, *via, *([1] if via else [])])):
        raise InputError("config: merge_kan.via", via, f"decreasing whole numbers between {selected} and 1")


def experts(config: Config, seed: int | None = None) -> list[tuple[int, int, int]]:
    """Hidden layers, order and seed of every expert of a dataset, for one of the configured seeds (the first).

    Every seed has experts of its own, so that replicates of merging are independent of each other: those of the p-th
    have the configured seeds plus 1000 p, where p is 0 for the first.
    """
    section = config["experts"]
    seeds = _expert_seeds(config)[config["seeds"][0] if seed is None else seed]
    return list(itertools.product(section["depths"], section["orders"], seeds))


def _expert_seeds(config: Config) -> dict[int, list[int]]:
    """The seeds of the experts, by configured seed."""
    own = config["experts"]["seeds"]
    return {seed: [BETWEEN_REPLICATES * p + s for s in own] for p, seed in enumerate(config["seeds"])}


def check_device(device: str) -> None:
    """Say early that a machine has no GPU; whether torch can use it is known when a training starts."""
    if device == "cuda" and not has_gpu_driver():
        raise InputError("config: device", "'cuda', but this machine has no CUDA driver; allowed here: auto, cpu")
