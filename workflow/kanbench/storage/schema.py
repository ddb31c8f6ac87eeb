"""The schema: the columns of all frames, used to build, read, verify and document them."""

from __future__ import annotations

from dataclasses import dataclass

from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.storage.stored_names import MAX_DATASETS

HISTORIES = ("section2_1", "section2_2", "grid_history")  # one row per epoch
EXPERTS = ("experts", "selected_experts")  # one row per expert
SUMMARY = ("summary",)  # one row per dataset
REQUIRED = ("n_experts_trained", "n_experts_selected", "merged_dense_mse")  # of a summary
_MSE = ("float64", "target²")


@dataclass(frozen=True)
class Column:
    """A column of frames."""

    name: str
    dtype: str  # for pandas
    unit: str  # empty for counts, names and ratios
    meaning: str
    frames: tuple[str, ...]  # frames of section 2.3 with this column, or sections in which all frames have it
    below: int | None = None  # exclusive upper limit of allowed integers, from 0

    @property
    def optional(self) -> bool:
        """Whether frames of earlier versions or other writers may lack it."""
        return self.name.endswith("flops") or (self.frames == SUMMARY and self.name not in REQUIRED)


def _summary(name: str, meaning: str, dtype: str = "float64", unit: str = "target²") -> Column:
    return Column(name, dtype, unit, meaning, SUMMARY)


def _outcome(name: str, model: str) -> tuple[Column, ...]:
    return (
        _summary(f"{name}_threshold_dense_mse", f"dense MSE of the {model} at its interpolation threshold"),
        _summary(f"{name}_dense_mse", f"dense MSE of the {model} at the end"),
        _summary(f"{name}_test_loss", f"test loss of the {model} at the end"),
        _summary(f"{name}_grid_size", f"last grid of the {model}", "int64", ""),
        _summary(f"{name}_num_params", f"parameters of the {model} at the end", "int64", ""),
        _summary(f"{name}_n_evals", f"evaluations to train the {model}", "int64", ""),
        _summary(f"{name}_flops", f"floating-point operations to train the {model}", "int64", ""),
        _summary(f"{name}_time", f"training time of the {model}", unit="s"),
    )


COLUMNS = (
    Column("dataset_idx", "int64", "", "index in the configured list", HISTORIES + EXPERTS + SUMMARY, MAX_DATASETS),
    Column("dataset_name", "object", "", "name of the problem", HISTORIES + EXPERTS + SUMMARY),
    # one row per epoch
    Column("grid_size", "int64", "", "grid intervals of this stage", HISTORIES, 1 << 31),
    Column("epoch", "int64", "", "optimizer steps so far, counted from 1 through all grids", HISTORIES, 1 << 31),
    Column("train_loss", *_MSE, "mean squared error on the training sample, at the end of the epoch", HISTORIES),
    Column("test_loss", *_MSE, "mean squared error on the test sample", HISTORIES),
    Column("dense_mse", *_MSE, "mean squared error on a fixed Sobol sample inside the domain", HISTORIES),
    Column("time", "float64", "s", "training time so far: steps and grid changes, no evaluation or output", HISTORIES),
    Column("total_time", "float64", "s", "training time of this row's stage", HISTORIES),
    Column("time_per_epoch", "float64", "s", "`total_time` divided by the epochs of the stage", HISTORIES),
    Column("n_evals", "int64", "", "evaluations of loss or residuals so far, with or without derivatives", HISTORIES),
    Column("flops", "int64", "", "floating-point operations of training so far, computed from array sizes", HISTORIES),
    Column("num_params", "int64", "", "parameters that can receive a gradient", HISTORIES),
    Column("optimizer", "object", "", "`adam`, `lbfgs` or `lm`", HISTORIES[:1]),
    Column("approach", "object", "", "the model type: `adaptive_only`, `baseline` …", HISTORIES[1:]),
    Column("attribution_threshold", "float64", "", "lowest score that counts as important", HISTORIES[1:2]),
    Column("important_neurons", "int64", "", "important input and hidden nodes in this stage", HISTORIES[1:2]),
    Column("total_neurons", "int64", "", "all input and hidden nodes", HISTORIES[1:2]),
    # one row per expert
    Column("rank", "int64", "", "rank by `valid_loss` among the selected experts, 1 for the lowest", EXPERTS[1:]),
    Column("depth", "int64", "", "number of hidden layers", EXPERTS),
    Column("k", "int64", "", "spline order", EXPERTS),
    Column("seed", "int64", "", "seed of the initial model", EXPERTS),
    Column("weight", "float64", "", "weight in the merged model", EXPERTS[1:]),
    Column("train_loss", *_MSE, "mean squared error on the training sample, after training", EXPERTS),
    Column("valid_loss", *_MSE, "mean squared error on the validation sample; decides the selection", EXPERTS),
    Column("test_loss", *_MSE, "mean squared error on the test sample", EXPERTS),
    Column("dense_mse", *_MSE, "mean squared error on the dense sample", EXPERTS),
    Column("dependencies", "object", "", "inputs on which the expert depends, such as `0,1`", EXPERTS),
    Column("num_params", "int64", "", "parameters that can receive a gradient", EXPERTS),
    Column("n_evals", "int64", "", "evaluations of the loss or residuals", EXPERTS),
    Column("flops", "int64", "", "floating-point operations of training, computed from array sizes", EXPERTS),
    Column("steps", "int64", "", "epochs of the training", EXPERTS),
    Column("train_time", "float64", "s", "training time", EXPERTS),
    Column("selected", "bool", "", "whether the expert is merged", EXPERTS[:1]),
    # one row per dataset
    _summary("n_experts_trained", "number of experts", "int64", ""),
    _summary("n_experts_selected", "number of merged experts", "int64", ""),
    _summary("best_expert_dense_mse", "lowest dense MSE of all experts"),
    _summary("chosen_expert_dense_mse", "dense MSE of the expert with the lowest `valid_loss`"),
    _summary("ensemble_dense_mse", "dense MSE of the weighted sum of the selected experts"),
    _summary("initial_dense_mse", "dense MSE of the merged model before training"),
    *_outcome("merged", "merged model"),
    *_outcome("control", "control"),
    _summary("initial_num_params", "parameters of the merged model before training", "int64", ""),
    _summary("via_n_evals", "evaluations to train the intermediate models", "int64", ""),
    _summary("via_flops", "floating-point operations to train the intermediate models", "int64", ""),
    _summary("via_time", "training time of the intermediate models", unit="s"),
    _summary("experts_n_evals", "evaluations to train all experts", "int64", ""),
    _summary("experts_flops", "floating-point operations to train all experts", "int64", ""),
    _summary("experts_time", "training time of all experts", unit="s"),
)


def columns(section: str, name: str) -> dict[str, Column]:
    """The columns of a frame, by name and in order; `section` may be a variant."""
    known = without_variant(section)
    frame = name if SECTIONS[known].frame_names else known
    return {column.name: column for column in COLUMNS if frame in column.frames}


def dtypes(section: str, name: str) -> dict[str, str]:
    """The dtypes of `columns`, for `DataFrame.astype`."""
    return {name: column.dtype for name, column in columns(section, name).items()}


HISTORY = {column.name: column for column in COLUMNS if set(HISTORIES) <= set(column.frames)}  # of every history
DERIVED = ("dataset_idx", "dataset_name", "total_time", "time_per_epoch")  # not in the rows of a training record
