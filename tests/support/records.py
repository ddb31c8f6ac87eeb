"""Records of trainings of section 2.1, made up, and the frames of them."""

from kanbench.storage.frames import build_frame
from kanbench.storage.training_record import TrainingRecord

STAMP = "20260101_000000"


def record(model_type, dataset_idx, epochs_run=4, threshold=3):
    """A record with two stages of two epochs; the second stage takes twice as long."""
    times = [1.0, 2.0, 4.0, 6.0]
    history = [
        {
            "grid_size": (3, 3, 5, 5)[i],
            "epoch": i + 1,
            "train_loss": 1 / (i + 1 + dataset_idx),
            "test_loss": 2 / (i + 1),
            "dense_mse": 3 / (i + 1),
            "time": times[i] * (dataset_idx + 1),
            "n_evals": 10 * (i + 1),
            "flops": 1000 * (i + 1),
            "num_params": (120, 120, 150, 150)[i],
        }
        for i in range(epochs_run)
    ]
    untrained = {"epoch": 0, "grid_size": 3, "num_params": 120, "n_evals": 0, "flops": 0, "time": 0.0}
    untrained |= {"train_loss": 9.0, "test_loss": 9.0, "dense_mse": 9.0}
    rows = [untrained, *history]
    return TrainingRecord(
        section="section2_1",
        timestamp=STAMP,
        epochs=2,
        model_type=model_type,
        dataset_idx=dataset_idx,
        dataset_name=f"problem_{dataset_idx}",
        device="cpu",
        settings={},
        provenance={"seed": 1, "dtype": "float64", "engine": "reference", "config_digest": model_type},
        stopped=None,
        checkpoints={"at_threshold": rows[min(threshold, epochs_run)], "final": rows[-1]},
        history=history,
    )


TRAININGS = {m: [record(m, i) for i in (0, 1)] for m in ("adam", "lbfgs", "lm")}


def frame_of(model_type):
    return build_frame(TRAININGS[model_type], TRAININGS["lbfgs"])
