"""Runs whose errors are planted, for the tests of tables and statements."""

import numpy as np
import pandas as pd

from kanbench.plan.naming import Run
from kanbench.plan.sections import section_of

POLY, SIN, SPEC = "poisson_2d_poly", "poisson_2d_sin", "poisson_2d_spec"
STAMP = "20260101_000000"


def frame(model_type, errors, seconds=1.0, section="section2_1"):
    """A model type's frame.

    Parameters
    ----------
    errors : dict
        `{dataset name: dense MSE of every epoch}`; the test losses are the same.
    seconds : float
        Of an epoch.
    """
    label = "optimizer" if section.startswith("section2_1") else "approach"
    rows = [
        {
            "dataset_idx": i,
            "dataset_name": name,
            "grid_size": 3,
            "epoch": epoch,
            "train_loss": error,
            "test_loss": error,
            "dense_mse": error,
            "time": seconds * epoch,
            "n_evals": 2 * epoch,
            "flops": 100 * epoch,
            "num_params": 150,
            label: model_type,
        }
        for i, (name, history) in enumerate(errors.items())
        for epoch, error in enumerate(history, start=1)
    ]
    made = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["dataset_idx", "dataset_name", "epoch", "test_loss"])
    made.attrs = {"section": section, "timestamp": STAMP, "epochs": 3, "model_type": model_type}
    return made


def run(errors, section="section2_1", seconds=None):
    """The frames of a run: `errors` is `{model type: {dataset name: dense MSE of every epoch, or of all}}`."""
    histories = {
        model_type: {name: [e] * 3 if np.isscalar(e) else e for name, e in by_dataset.items()}
        for model_type, by_dataset in errors.items()
    }
    return {m: frame(m, by_dataset, (seconds or {}).get(m, 1.0), section) for m, by_dataset in histories.items()}


def merged(columns, section="section2_3"):
    """The frames of a run of section 2.3: `columns` is `{dataset name: {column of summary: value}}`."""
    rows = [{"dataset_idx": i, "dataset_name": name, **values} for i, (name, values) in enumerate(columns.items())]
    summary = pd.DataFrame(rows)
    summary.attrs = {"section": section, "timestamp": STAMP, "model_type": "merge_kan"}
    return {"summary": summary}


def some_run(seed, section="section2_1", model_types=("adam", "lbfgs", "lm")):
    """Errors that fall, with noise and overfitting, and times that differ."""
    rng = np.random.default_rng(seed)
    errors = {
        m: {name: np.exp(np.cumsum(rng.normal(-0.3, 1, 12))).tolist() for name in (SIN, POLY, SPEC)}
        for m in model_types
    }
    return run(errors, section, dict(zip(model_types, (0.1, 1.0, 0.9), strict=True)))


def store(frames, folder):
    attrs = next(iter(frames.values())).attrs
    made = Run(attrs["section"], attrs["timestamp"], 3, str(folder))
    for name, frame in frames.items():
        (folder / section_of(made.section).folder).mkdir(parents=True, exist_ok=True)
        frame.to_pickle(made.frame(name))
    return made
