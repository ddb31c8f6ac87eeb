"""What a training hands to the consolidation: one JSON file, with everything but the weights."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kanbench
from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.plan.naming import CHECKPOINTS, FileName
from kanbench.plan.settings import digest

if TYPE_CHECKING:
    from kanbench.training.history import Training

TrainingRecord = dict[str, Any]

KEYS = {"section", "timestamp", "epochs", "model_type", "dataset_idx", "dataset_name", "device", "settings"}
KEYS |= {"provenance", "stopped", "checkpoints", "history"}
VARYING = ("problem",)
VARYING_EXPERTS = ("problem", "model", "seed")


def training_record(name: FileName, settings: dict[str, Any], training: Training, **more: Any) -> TrainingRecord:
    """The record of one training.

    Parameters
    ----------
    name : FileName
        Which training it is.
    settings : dict
        What was trained.
    training : Training
        What came of it.
    **more
        What else the consolidation has to know of this kind of training.
    """
    return {
        "section": name.run.section,
        "timestamp": name.run.timestamp,
        "epochs": name.run.epochs,
        "model_type": name.model_type,
        "dataset_idx": name.dataset_idx,
        "dataset_name": settings["problem"],
        "device": training.device,
        "settings": settings,
        "provenance": provenance(settings, training.engine, VARYING if name.expert is None else VARYING_EXPERTS),
        "stopped": training.stopped,
        "checkpoints": {checkpoint: getattr(training, checkpoint).row for checkpoint in CHECKPOINTS},
        "history": training.history,
        "stages": training.stages,
        **more,
    }


def provenance(settings: dict[str, Any], engine: str, varying: Sequence[str] = VARYING) -> dict[str, Any]:
    """What a rerun needs and nothing else in a frame tells; the same for all trainings of a frame.

    `varying` are the settings in which these differ.
    """
    return {
        **{key: settings[key] for key in ("seed", "dtype") if key not in varying},
        "engine": engine,
        "python": platform.python_version(),
        "torch": version("torch"),
        "pykan": version("pykan"),
        "kanbench": kanbench.__version__,
        "config_digest": digest({key: value for key, value in settings.items() if key not in varying}),
    }


def write_record(content: TrainingRecord, path: str | Path) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(_finite(content), allow_nan=False, indent=1) + "\n")


def _finite(value: Any) -> Any:
    """Numbers that are not finite as None, which pandas reads as nan: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(path: str | Path) -> TrainingRecord:
    try:
        content = json.loads(Path(path).read_text())
        if not isinstance(content, dict) or not content.keys() >= KEYS:
            raise ValueError
        return content
    except OSError as error:
        raise InputError(path, problem=f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(path, problem="damaged; delete it and the training is repeated") from None
