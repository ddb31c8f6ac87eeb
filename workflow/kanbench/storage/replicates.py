"""One run with several seeds: what figures and tables take their intervals from."""

from __future__ import annotations

from pathlib import Path

from kanbench.plan.naming import RESULTS
from kanbench.storage.derive import Frames
from kanbench.storage.runs import open_run


def load_replicates(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> dict[int | None, Frames]:
    """Load the frames of a run with every seed that it was trained with.

    Parameters
    ----------
    section, timestamp, epochs, results_dir
        As for `kanbench.load_run`.

    Returns
    -------
    replicates : dict
        `{seed: {frame: DataFrame}}`; see `kanbench.storage.stored_run.StoredRun.replicates`.

    Raises
    ------
    InputError
        There is no such run, or a file is damaged or refused.

    Examples
    --------
    >>> replicates = load_replicates("section2_1")
    >>> [frames["lm"].groupby("dataset_name")["test_loss"].min() for frames in replicates.values() if "lm" in frames]
    """
    return open_run(section, timestamp, epochs, results_dir).replicates
