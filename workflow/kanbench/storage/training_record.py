"""Training records: the result of one training as a JSON file, without the weights."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import msgspec

import kanbench
from kanbench.errors import InputError
from kanbench.io.atomic import write_text
from kanbench.io.made_by import MADE_BY, NOT_RECORDED, code_digest, processor
from kanbench.plan.naming import CHECKPOINTS, FileName
from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.plan.settings import digest
from kanbench.problems.target_scale import scale_of
from kanbench.storage.schema import DERIVED, HISTORY, Column, columns

if TYPE_CHECKING:
    from kanbench.problems.samples import Dataset
    from kanbench.training.history import Training

VARYING = ("problem", "source", "model.width")  # settings that differ by dataset; widths depend on the inputs
VARYING_EXPERTS = ("problem", "source", "model", "seed")
OF_ALL = ("data", "device", "dtype", "engine", "targets", "threshold")  # common to all trainings of section 2.3

TYPES: dict[str, Any] = {"int64": int, "float64": (int, float, NoneType)}  # None stands for a non-finite number
OF_EXPERT = columns("section2_3", "experts").keys() - {"dataset_idx", "dataset_name", "selected"}
OF_MERGING = {"selected", "ensemble_dense_mse", "initial_dense_mse", "initial_num_params", "via", "width", "k"}


class TrainingRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of one training. The fields are the keys of the JSON file, in this order."""

    section: str
    timestamp: str
    epochs: int | None  # per grid; None in section 2.3
    model_type: str  # also `expert` or `control`
    dataset_idx: int
    dataset_name: str
    device: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    stopped: str | None  # the reason for stopping early
    checkpoints: dict[str, dict[str, Any]]  # {'at_threshold': row, 'final': row}
    history: list[dict[str, Any]]  # a row per epoch
    inputs: int | None = None  # the problem's number of inputs
    target: dict[str, float] | None = None  # TargetScale of the problem on the dense sample
    stages: list[dict[str, Any]] = []  # see Training
    timings: int = 1  # how often the training was timed
    expert: dict[str, Any] | None = None  # for an expert: what selection and frames need
    merging: dict[str, Any] | None = None  # for a merged model: its experts, and measurements before training
    width: list[int] | None = None  # for a control


def training_record(name: FileName, settings: Any, training: Training, data: Dataset, **more: Any) -> TrainingRecord:
    """Make the record of a training.

    Args:
        name (FileName): The name of the training.
        settings (dict or Struct): Its settings.
        training (Training): Its outcome.
        data (Dataset): Its samples.
        **more: `expert`, `merging` or `width`.

    Raises:
        InputError: `name` is not the name of a training.
    """
    run, settings = name.run, msgspec.to_builtins(settings)
    if name.model_type is None or name.dataset_idx is None or isinstance(run.epochs, str):
        raise InputError(run.name, problem="not the name of a training")
    return TrainingRecord(
        run.section,
        run.timestamp,
        run.epochs,
        name.model_type,
        name.dataset_idx,
        dataset_name=settings["problem"],
        device=training.device,
        settings=settings,
        provenance=provenance(
            settings, training.engine, training.clock, VARYING if name.expert is None else VARYING_EXPERTS
        ),
        stopped=training.stopped,
        checkpoints={checkpoint: getattr(training, checkpoint).row for checkpoint in CHECKPOINTS},
        history=msgspec.to_builtins(training.history),
        inputs=len(data.domain),
        target=dataclasses.asdict(scale_of(data.dense_label)),
        stages=msgspec.to_builtins(training.stages),
        timings=training.timings,
        **more,
    )


def provenance(settings: dict[str, Any], engine: str, clock: str, varying: Sequence[str] = VARYING) -> dict[str, Any]:
    """The provenance of a frame's trainings: what a rerun needs, and the frame does not contain otherwise.

    `timing` says how times were measured: with which clock (`thread`, CPU time, or `wall`), as the minimum of up to
    `repeats` timings, as long as all together took less than `seconds`.

    Args:
        varying (sequence of str): The settings in which trainings of a frame may differ.
    """
    return {
        **{key: settings[key] for key in ("seed", "dtype") if key not in varying},
        "engine": engine,
        "targets": settings["targets"],
        "timing": {"clock": clock, **settings["timing"]},
        "python": platform.python_version(),
        "torch": version("torch"),
        "pykan": version("pykan"),
        "kanbench": kanbench.__version__,
        "code": code_digest(),
        "processor": processor(),
        "config_digest": settings_digest(settings, varying),
        "common_digest": digest(common_settings(settings)),
    }


def common_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that all trainings of a section have in common, by flat names such as `data.seed`."""
    if "epochs" in settings:  # section 2.3: experts, merged models and controls have different settings
        kept = {key: value for key, value in settings.items() if key in OF_ALL}
    else:
        compared = "grids.approach" if settings.get("grids", {}).get("policy") == "importance" else "optimizer"
        kept = _without(settings, (*VARYING, "seed", compared))
    flat: dict[str, Any] = {}
    for key, value in kept.items():
        flat |= {f"{key}.{name}": part for name, part in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _without(settings: dict[str, Any], varying: Sequence[str]) -> dict[str, Any]:
    """Leave out the settings with these names; `model.width` is the entry `width` of `model`."""
    kept = {key: value for key, value in settings.items() if key not in varying}
    for group, _, key in (name.partition(".") for name in varying):
        if key and group in kept:
            kept[group] = {name: value for name, value in kept[group].items() if name != key}
    return kept


def made_alike(provenance: dict[str, Any]) -> dict[str, Any]:
    """The part of a provenance that must be the same for all trainings of a frame; present in all versions."""
    return {key: value for key, value in provenance.items() if key not in (*MADE_BY, "common_digest")}


def of_several(records: Sequence[TrainingRecord]) -> dict[str, Any]:
    """The common provenance of several trainings; keys of `MADE_BY` with different values become lists."""
    found = dict(records[0].provenance)
    for key in MADE_BY:
        values = sorted({record.provenance.get(key, NOT_RECORDED) for record in records})
        if values != [NOT_RECORDED]:
            found[key] = values[0] if len(values) == 1 else values
    return found


def settings_digest(settings: dict[str, Any], varying: Sequence[str] = VARYING) -> str:
    """The digest of settings without the varying ones, for the provenance."""
    return digest(_without(settings, varying))


def write_record(record: TrainingRecord, path: str | Path) -> None:
    """Write a record as JSON; non-finite numbers become null, which pandas reads as nan."""
    content = json.loads(msgspec.json.encode(record, enc_hook=lambda number: number.item()))  # numpy scalars
    write_text(path, json.dumps(content, allow_nan=False, indent=1) + "\n")


def read_record(path: str | Path) -> TrainingRecord:
    """Read a training record.

    Raises:
        InputError: The file cannot be read or is damaged.
    """
    try:
        record = msgspec.json.decode(Path(path).read_bytes(), type=TrainingRecord)
        if _is_complete(record):
            return record
    except OSError as error:
        raise InputError(path, problem=f"cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, RecursionError):
        pass
    raise InputError(path, problem="damaged; delete it and the training is repeated")


def _is_complete(record: TrainingRecord) -> bool:
    """Whether a record has everything that the consolidation needs."""
    if without_variant(record.section) not in SECTIONS or not record.checkpoints.keys() >= set(CHECKPOINTS):
        return False
    return (
        _have_metrics(record.history, columns(record.section, "grid_history"))
        and _have_metrics(record.checkpoints.values(), HISTORY)
        and (record.expert is None or record.expert.keys() >= OF_EXPERT)
        and (record.merging is None or record.merging.keys() >= OF_MERGING)
    )


def _have_metrics(rows: Iterable[dict[str, Any]], wanted: dict[str, Column]) -> bool:
    """Whether all rows have numbers in the columns of metrics."""
    types = {name: TYPES[c.dtype] for name, c in wanted.items() if c.dtype in TYPES and name not in DERIVED}
    return all(name in row and isinstance(row[name], kind) for row in rows for name, kind in types.items())
