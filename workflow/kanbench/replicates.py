"""One run with several seeds: what figures and tables take their intervals from."""

from __future__ import annotations

from pathlib import Path

from kanbench.derive import Frames
from kanbench.naming import RESULTS
from kanbench.storage.attrs import complete
from kanbench.storage.frames import read_frame
from kanbench.storage.runs import files_by_run, find_run, load_files
from kanbench.stored_names import in_order, stored_replicates


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
        `{seed: {frame: DataFrame}}`. The first entry is the run itself, as `load_run` returns it; its seed is None
        where it is not recorded, as in earlier formats. The others, by seed, are the frames that are there in
        `results/seeds`: while the trainings of a seed have not all finished, some or all of its frames are absent. A
        frame there with the seed of the run itself is left out.

    Raises
    ------
    InputError
        There is no such run, or a file is damaged or refused.

    Examples
    --------
    >>> replicates = load_replicates("section2_1")
    >>> [frames["lm"].groupby("dataset_name")["test_loss"].min() for frames in replicates.values() if "lm" in frames]
    """
    run = find_run(section, timestamp, epochs, results_dir)
    frames, _ = load_files(run, files_by_run(results_dir)[run])
    replicates = {_seed(frames): frames}
    for other, files in stored_replicates(run).items():
        if other.seed not in replicates:
            paths = {file.name: file.path for file in files}
            replicates[other.seed] = {name: read_frame(paths[name]) for name in in_order(paths, section)}
            complete(other, replicates[other.seed], {})
    return replicates


def _seed(frames: Frames) -> int | None:
    """The seed in the provenance of frames; that of section 2.3's experts has none, because each has its own."""
    provenances = [frame.attrs.get("provenance") for frame in frames.values()]
    seeds = [provenance.get("seed") for provenance in provenances if isinstance(provenance, dict)]
    return next((seed for seed in seeds if isinstance(seed, int) and not isinstance(seed, bool)), None)
