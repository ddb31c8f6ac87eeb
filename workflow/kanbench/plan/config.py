"""Read, normalize and check the configuration.

Defaults are in `config/config.yaml` only. The Snakefile imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kanbench.errors import InputError
from kanbench.io.readers import read_yaml
from kanbench.plan.devices import check_engine, has_gpu_driver
from kanbench.plan.naming import MAX_SEED
from kanbench.plan.sections import is_timestamp, is_variant
from kanbench.problems import PROBLEMS, Problem
from kanbench.problems.files import problems_in
from kanbench.problems.registry import NAME, is_width
from kanbench.problems.source import Columns, read_file
from kanbench.problems.tables import PARTS, TableProblem, table_problem

if TYPE_CHECKING:
    import jsonschema

PACKAGE = Path(__file__).resolve().parents[1]
COPY = PACKAGE / "data"  # exists only if installed from a wheel; see pyproject.toml
# Root of the data files that the package reads: the repository, or a wheel's copy with the same relative paths.
ROOT = COPY if COPY.is_dir() else PACKAGE.parents[1]
DEFAULT_CONFIG = ROOT / "config" / "config.yaml"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"

Config = dict[str, Any]

TIMESTAMP_DIGITS = 14
BETWEEN_REPLICATES = 1000  # added to the experts' seeds from one configured seed to the next
NULLS = ("null", "Null", "NULL", "~")  # as in YAML
RENAMED = {  # keys of earlier configurations: new names
    "adaptive_density.density": "refinement_factor",
    "adaptive_density.threshold": "score_threshold",
    "experts.steps": "epochs",
    "merge_kan.control": "control_budget",
    "merge_kan.via": "intermediate_models",
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def load_config(path: str | Path = DEFAULT_CONFIG) -> Config:
    """Read a configuration file, add the defaults, and check the result.

    Raises:
        InputError: The file cannot be read, or a key is invalid.
    """
    return check(merge(read_yaml(DEFAULT_CONFIG), read_yaml(path, pipe=True)))


def merge(base: Config, over: Config) -> Config:
    """Override `base` with the values of `over`; mappings are merged, all else is replaced (as in Snakemake)."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def check(config: Config) -> Config:
    """Normalize and check a configuration.

    Returns:
        dict: The configuration in normal form.

    Raises:
        InputError: A key is invalid; names the first one, what was found and what is allowed.
    """
    config = _normal_values(config)
    digits = str(config.get("timestamp"))  # YAML reads 20251024_143022 as the integer 20251024143022
    if isinstance(config.get("timestamp"), int) and len(digits) == TIMESTAMP_DIGITS:
        config["timestamp"] = f"{digits[:8]}_{digits[8:]}"
    _check_schema(config)
    _check_values(config)
    return config


def _normal_values(value: Any) -> Any:
    """Convert text that is a number, and text that is null.

    YAML 1.1 reads 1e-3 as text because it has no point. Snakemake passes numbers inside mappings as text, as in
    `--config 'grids={sizes: [3, 5]}'`, and also the null of `--config variant=null`.
    """
    if value in NULLS:
        return None
    if isinstance(value, dict):
        return {key: _normal_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal_values(item) for item in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value


def _check_schema(config: Config) -> None:
    import jsonschema  # here: jobs do not need it, because their settings are already checked

    # JSON Schema accepts 10.0 as an integer, which would give file names with e10.0, and .nan and .inf as numbers.
    draft = jsonschema.Draft202012Validator
    types = draft.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_finite})
    validator = jsonschema.validators.extend(draft, type_checker=types)(read_yaml(SCHEMA))
    if errors := sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.path]):
        raise _described(errors[0])


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_: object, value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _described(error: jsonschema.ValidationError) -> InputError:
    """Convert an error of the schema, naming the key as written for `--config`."""
    of_keys = "additionalProperties", "required"
    if inside := [part for part in error.context or () if part.path or part.validator in of_keys]:
        return _described(inside[0])  # the value is of the right type for this alternative, but not all in it
    keys, schema, value = list(error.absolute_path), cast("dict[str, Any]", error.schema), cast(Any, error.instance)
    if error.validator == "additionalProperties":
        allowed = list(schema["properties"])
        unknown = next(name for name in value if name not in allowed)
        where = _key(*keys, unknown)
        if now := RENAMED.get(where.removeprefix(_key())):
            return InputError(where, problem=f"renamed to {now}")
        close = difflib.get_close_matches(str(unknown), allowed, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        return InputError(where, allowed=", ".join(allowed), problem=f"unknown key{hint}")
    if error.validator == "required":
        missing = next(name for name in schema["required"] if name not in value)
        return InputError(_key(*keys, missing), problem="missing")
    return InputError(_key(*keys), f"{value!r}", schema["description"])


def _key(*parts: object) -> str:
    """The place that an error names: `config: data.seed`."""
    return f"config: {'.'.join(map(str, parts))}"


def _check_values(config: Config) -> None:
    """Check what a schema cannot express."""
    timestamp, variant = config["timestamp"], config["variant"]
    if timestamp not in ("auto", "new") and not is_timestamp(timestamp):
        raise InputError(_key("timestamp"), f"{timestamp!r}", "auto, new, or a date and time as YYYYMMDD_HHMMSS")
    if variant is not None and not is_variant(variant):
        allowed = "null, or small letters, digits and underscores, a letter first and no date and time"
        raise InputError(_key("variant"), f"{variant!r}", allowed)
    _check_problems(config)
    for key, grids in (("grids.sizes", config["grids"]["sizes"]), ("merge_kan.grids", config["merge_kan"]["grids"])):
        if any(after <= before for before, after in itertools.pairwise(grids)):
            raise InputError(_key(key), grids, "increasing integers")
    if config["device"] == "cuda":
        check_engine(config["engine"], "cuda", _key("engine"))
    _check_experts(config)


def _check_problems(config: Config) -> None:
    if not 0.999 < sum(config["data"]["shares"].values()) < 1.001:
        raise InputError(_key("data.shares"), config["data"]["shares"], "shares that add up to 1")
    problems, width = problems_of(config), config["model"]["width"]
    for name in config["datasets"]:
        if name not in problems:
            close = difflib.get_close_matches(name, problems, n=5)
            own = [known for known in problems if known not in PROBLEMS]
            allowed = ", ".join([*own, *(known for known in close if known not in own)])
            every = f"one of the {len(problems)} problems that python -m kanbench problems lists"
            raise InputError(_key("datasets"), repr(name), f"{allowed}, or {every}" if allowed else every)
        dim = problems[name].dim
        if not is_width(network_width(config, name), dim):
            raise InputError(_key("model.width"), width, f"a list from {dim}, the inputs of {name}, to 1")
    for name, problem in problems.items():
        if not isinstance(problem, TableProblem):
            continue
        if name not in config["datasets"]:
            raise InputError(
                _key("datasets"), config["datasets"], f"a list that contains {name}, the name of the table"
            )
        if "section2_3" in config["sections"] and not len(problem.parts(0)["valid"]):
            raise InputError(problem.file, "no rows for valid", "at least one: Section 2.3 selects experts by them")


def problems_of(config: Config) -> dict[str, Problem]:
    """All problems available to a configuration, by name: the package's and those of its files and tables.

    Raises:
        InputError: A file is missing or invalid, or a name is used twice.
    """
    found = dict(PROBLEMS)
    for path in config["problems"]:
        _check_readable("problems", path)
    parts = [problems_in(path) for path in config["problems"]]
    for table in _tables(config):
        name = _table_name(table)
        _check_readable("table.path", table["path"])
        parts.append({name: table_problem(name, table["path"], _columns(config, table))})
    for part in parts:
        for name, problem in part.items():
            if name in found:
                raise InputError(problem.where, problem=f"duplicate name, also defined in {found[name].file}")
            found[name] = problem
    return found


def _check_readable(key: str, path: str) -> None:
    """Read a user's file, so that the error for one that is missing names the key."""
    try:
        read_file(path)
    except InputError as error:
        raise error.at(f"{_key(key)}: {path}") from None


def problem_files(config: Config) -> dict[str, str]:
    """The user's files that define the configured problems, by problem name; without problems of the package."""
    sources = {name: problems_of(config)[name].source for name in config["datasets"]}
    return {name: source.path for name, source in sources.items() if source.path is not None}


def _tables(config: Config) -> list[dict[str, Any]]:
    table = config["table"]
    return [] if table is None else table if isinstance(table, list) else [table]


def _table_name(table: dict[str, Any]) -> str:
    name = table.get("name", Path(table["path"]).stem)
    if not NAME.fullmatch(name):
        raise InputError(_key("table.name"), f"{name!r}", "a letter, then letters, digits and underscores")
    return name


def _columns(config: Config, table: dict[str, Any]) -> Columns:
    split = table.get("split")
    shares = None if split else tuple(float(config["data"]["shares"][part]) for part in PARTS)
    return Columns(tuple(map(str, table["inputs"])), str(table["target"]), split, shares)


def network_width(config: Config, dataset: str) -> list[int]:
    """The width of the networks of Sections 2.1 and 2.2 on a dataset.

    In the configured width, `d` stands for the number of inputs. If it has a `d`, a problem's own width takes
    precedence.
    """
    problem, width = problems_of(config)[dataset], config["model"]["width"]
    if "d" in width and problem.width is not None:
        return list(problem.width)
    return [problem.dim if nodes == "d" else nodes for nodes in width]


def _check_experts(config: Config) -> None:
    every = [expert for seed in config["seeds"] for expert in experts(config, seed)]
    if len(set(every)) < len(every) or max(seed for _, _, seed in every) > MAX_SEED:
        allowed = (
            f"with {len(config['seeds'])} seeds, numbers that do not differ by a multiple of {BETWEEN_REPLICATES}, at "
            f"most {MAX_SEED} after {BETWEEN_REPLICATES} is added for each seed but the first"
        )
        raise InputError(_key("experts.seeds"), config["experts"]["seeds"], allowed)
    if config["merge_kan"]["seeds"] > (known := len(config["seeds"])):
        raise InputError(_key("merge_kan.seeds"), config["merge_kan"]["seeds"], f"1 to {known}, the number of seeds")
    count, selected = len(experts(config)), config["merge_kan"]["n_selected"]
    between = config["merge_kan"]["intermediate_models"]
    if selected > count:
        raise InputError(_key("merge_kan.n_selected"), selected, f"1 to {count}, the number of experts")
    first, grid = config["merge_kan"]["grids"][0], config["experts"]["grid"]
    if first < grid:
        raise InputError(_key("merge_kan.grids"), f"{first} as the first", f"at least {grid}, the experts' grid")
    if any(after >= before for before, after in itertools.pairwise([selected, *between, *([1] if between else [])])):
        raise InputError(
            _key("merge_kan.intermediate_models"), between, f"decreasing integers between {selected} and 1"
        )


def experts(config: Config, seed: int | None = None) -> list[tuple[int, int, int]]:
    """Hidden layers, order and seed of each expert of a dataset.

    Each configured seed has its own experts, so that replicates of merging are independent: for the p-th seed,
    counted from 0, 1000 p is added to the configured seeds of the experts.

    Args:
        seed (int, optional): One of the configured seeds; by default the first.
    """
    section = config["experts"]
    added = 0 if seed is None else BETWEEN_REPLICATES * config["seeds"].index(seed)
    return list(itertools.product(section["depths"], section["orders"], [added + own for own in section["seeds"]]))


def check_device(device: str) -> None:
    """Raise `InputError` early if the machine has no GPU; only a training can tell whether torch can use it."""
    if device == "cuda" and not has_gpu_driver():
        raise InputError(_key("device"), "'cuda'", "auto, cpu", problem="this machine has no CUDA driver")
