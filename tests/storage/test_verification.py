"""`verify` finds nothing wrong with runs of the pipeline, and each of the faults that are planted in copies of them."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import kanbench
from kanbench.errors import InputError
from kanbench.network.initialization import initialize
from kanbench.plan.config import load_config, merge
from kanbench.plan.naming import Run
from kanbench.storage import verification
from kanbench.storage.checkpoints import write_checkpoint
from kanbench.storage.verification import verify
from support.results import STAMP, TINY, opened

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("section", ["section2_1", "section2_2", "section2_3"])
@pytest.mark.parametrize("with_records", [True, False], ids=["with the records", "with the configuration"])
def test_runs_of_the_pipeline_pass(section, with_records, tiny_results, tmp_path):
    if not with_records:
        shutil.copytree(tiny_results, tmp_path / "results", ignore=shutil.ignore_patterns("trainings"))
    results = tiny_results if with_records else tmp_path / "results"
    config = None if with_records else merge(load_config(), TINY)
    counts = []
    findings = verify(
        opened(kanbench.find_run(section, results_dir=results)),
        config,
        lambda done, total: counts.append((done, total)),
    )
    assert findings.faults == []
    frames = 0 if with_records else len(Run(section, STAMP).kind.frames)
    assert [note.split(": ")[1] for note in findings.notes] == ["not compared with its training records"] * frames
    checkpoints = 4 if section == "section2_3" else 12
    assert counts == [(done, checkpoints) for done in range(1, checkpoints + 1)]


def test_what_cannot_be_checked_is_said(tiny_results, tmp_path):
    shutil.copytree(tiny_results / "sec1_results", tmp_path / "sec1_results")
    findings = verify(opened(Run("section2_1", STAMP, 2, str(tmp_path))), load_config())
    assert findings.faults == []
    assert len(findings.notes) == 3 + 6
    assert "not compared with its training records" in findings.notes[0]
    assert "test_loss and dense_mse of its checkpoints were not computed" in findings.notes[-1]


# --- faults ---


class Copy:
    """A copy of the run of section 2.1 (or another), and ways to spoil it."""

    def __init__(self, run):
        self.run = run

    def frame(self, change, name="adam", both=True):
        """Change a frame, in both formats or in parquet only."""
        frame = pd.read_pickle(self.run.frame(name))
        frame = change(frame) if change(frame) is not None else frame
        if both:
            frame.to_pickle(self.run.frame(name))
        frame.to_parquet(self.run.frame(name, "parquet"))

    def attrs(self, change, name="adam"):
        frame = pd.read_pickle(self.run.frame(name))
        change(frame.attrs)
        frame.to_pickle(self.run.frame(name))
        frame.to_parquet(self.run.frame(name, "parquet"))

    def metadata(self, change):
        path = Path(self.run.checkpoint_metadata())
        content = pickle.loads(path.read_bytes())
        change(content)
        path.write_bytes(pickle.dumps(content))

    def state(self, change, model_type="lm", checkpoint="final"):
        path = f"{self.run.checkpoint(model_type, 1, checkpoint)}_state"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    def config(self, **change):
        path = Path(f"{self.run.checkpoint('lm', 1, 'final')}_config.yml")
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))


def a_file_is_missing(copy):
    Path(f"{copy.run.checkpoint('lm', 0, 'final')}_cache_data").unlink()


def a_frame_is_missing(copy):
    Path(copy.run.frame("lm", "parquet")).unlink()


def a_frame_is_cut(copy):
    path = Path(copy.run.frame("adam"))
    path.write_bytes(path.read_bytes()[:-50])


def an_attr_is_missing(copy):
    copy.attrs(lambda attrs: attrs.pop("device"))


def derivable_attrs(copy):
    copy.attrs(lambda attrs: attrs.update(grids=[3, 5]))


def attrs_of_another_run(copy):
    copy.attrs(lambda attrs: attrs.update(timestamp="20200101_000000"))


def provenance_is_cut(copy):
    copy.attrs(lambda attrs: attrs["provenance"].pop("config_digest"))


def the_threshold_time_is_another(copy):
    copy.attrs(lambda attrs: attrs.update(lbfgs_threshold_time=attrs["lbfgs_threshold_time"] * 1.01))


def a_loss_in_a_frame_is_another(copy):
    copy.frame(lambda frame: frame.assign(test_loss=frame["test_loss"] * 1.001))


def parquet_and_pickle_differ(copy):
    copy.frame(lambda frame: frame.assign(n_evals=frame["n_evals"] + 1), both=False)


def an_epoch_is_missing(copy):
    copy.frame(lambda frame: frame[frame["epoch"] != 2])


def the_last_epoch_is_missing(copy):
    copy.frame(lambda frame: frame[frame["epoch"] != 4])


def an_epoch_is_there_twice(copy):
    copy.frame(lambda frame: pd.concat([frame, frame.tail(1)], ignore_index=True))


def time_goes_back(copy):
    copy.frame(lambda frame: frame.assign(time=frame["time"].to_numpy()[::-1]))


def a_column_is_missing(copy):
    copy.frame(lambda frame: frame.drop(columns="dense_mse"))


def a_column_of_text(copy):
    copy.frame(lambda frame: frame.assign(epoch=frame["epoch"].astype(str)))


def a_column_without_values(copy):
    copy.frame(lambda frame: frame.assign(train_loss=None))


def a_column_of_another_type(copy):
    copy.frame(lambda frame: frame.assign(epoch=frame["epoch"].astype(float)))


def a_dataset_has_another_name(copy):
    copy.frame(lambda frame: frame.assign(dataset_name=frame["dataset_name"].replace("poisson_2d_sin", "sin")))


def another_model_types_rows(copy):
    copy.frame(lambda frame: frame.assign(optimizer="lm"))


def a_loss_in_the_metadata_is_another(copy):
    def change(metadata):
        metadata["lm"][1]["final"]["dense_mse"] *= 1.0001

    copy.metadata(change)


def a_training_is_not_in_the_metadata(copy):
    copy.metadata(lambda metadata: metadata["lm"].pop(1))


def a_metric_is_missing(copy):
    copy.metadata(lambda metadata: metadata["lm"][1]["final"].pop("grid_size"))


def weights_are_in_the_metadata(copy):
    copy.metadata(lambda metadata: metadata["lm"][1]["final"].update(model=torch.nn.Linear(2, 2).state_dict()))


def weights_as_lists_are_in_the_metadata(copy):
    copy.metadata(lambda metadata: metadata["lm"][1]["final"].update(coef=[0.5] * 1500))


def the_metadata_are_too_large(copy):
    copy.metadata(lambda metadata: metadata["lm"][1]["final"].update(optimizer="lm" * 20_000))


def the_threshold_is_another_epoch(copy):
    copy.frame(lambda frame: frame.assign(test_loss=frame["test_loss"].where(frame["epoch"] != 2, 0.0)))


def a_coefficient_is_another(copy):
    copy.state(lambda state: state["act_fun.0.coef"].mul_(1.001))


def the_checkpoints_are_exchanged(copy):
    for file in ("config.yml", "state", "cache_data"):
        one, other = (Path(f"{copy.run.checkpoint('lbfgs', 1, c)}_{file}") for c in ("at_threshold", "final"))
        content = other.read_bytes()
        other.write_bytes(Path(f"{copy.run.checkpoint('lm', 1, 'final')}_{file}").read_bytes())
        one.write_bytes(content)


def an_edge_is_masked(copy):
    copy.state(lambda state: state["act_fun.0.mask"][0].zero_())


def the_training_inputs_are_others(copy):
    torch.save(torch.zeros(60, 2, dtype=torch.float64), f"{copy.run.checkpoint('lm', 1, 'final')}_cache_data")


def a_checkpoint_is_cut(copy):
    path = Path(f"{copy.run.checkpoint('lm', 1, 'final')}_state")
    path.write_bytes(path.read_bytes()[:-100])


def a_checkpoint_is_for_cuda(copy):
    copy.config(device="cuda")


def a_checkpoints_grid_is_another(copy):
    copy.config(grid=4)


def another_trainings_settings(copy):
    path = Path(copy.run.record(copy.run.training("lm", 1)))
    path.write_text(path.read_text().replace('"test_num": 50', '"test_num": 51'))


def a_loss_between_checkpoints_is_another(copy):
    copy.frame(lambda frame: frame.assign(train_loss=frame["train_loss"].where(frame["epoch"] != 3, 0.5)))


def provenance_is_text(copy):
    copy.frame(lambda frame: frame.attrs.update(provenance="mine"))


def an_index_is_damaged(copy):
    copy.frame(lambda frame: frame.assign(dataset_idx=frame["dataset_idx"].astype(object).where(frame["epoch"] != 3)))


def an_index_of_text(copy):
    copy.frame(lambda frame: frame.assign(dataset_idx="a"))


def an_index_is_enormous(copy):
    copy.frame(lambda frame: frame.assign(dataset_idx=2**28))


def a_loss_is_negative(copy):
    copy.frame(lambda frame: frame.assign(train_loss=frame["train_loss"].where(frame["epoch"] != 1, -5.0)))


def no_evaluations(copy):
    copy.frame(lambda frame: frame.assign(n_evals=0))


def evaluations_below_zero(copy):
    copy.frame(lambda frame: frame.assign(n_evals=frame["n_evals"] - 100))


def an_epoch_without_evaluations(copy):
    copy.frame(lambda frame: frame.assign(n_evals=frame["n_evals"].where(frame["epoch"] != 2, frame["n_evals"].min())))


def no_time_passes(copy):
    copy.frame(lambda frame: frame.assign(time=0.0, total_time=0.0, time_per_epoch=0.0))


def a_grid_gets_coarser(copy):
    copy.frame(lambda frame: frame.assign(grid_size=frame["grid_size"].to_numpy()[::-1]))


def datasets_in_another_order(copy):
    copy.frame(lambda frame: frame.sort_values("dataset_idx", ascending=False, kind="stable", ignore_index=True))


def the_threshold_time_of_another_section(copy):
    for name in copy.run.kind.frames:
        copy.attrs(lambda attrs: attrs.update(baseline_threshold_time=3.0), name)


def numbers_of_numpys_are_in_the_metadata(copy):
    copy.metadata(lambda metadata: metadata["lm"][1]["final"].update(test_loss=np.float64(0.5)))


def datasets_of_text_are_in_the_metadata(copy):
    def change(metadata):
        metadata["lm"] = {str(index): checkpoints for index, checkpoints in metadata["lm"].items()}

    copy.metadata(change)


def the_state_is_in_single_precision(copy):
    copy.state(lambda state: state.update({k: v.float() for k, v in state.items() if v.is_floating_point()}))


def the_inputs_are_in_single_precision(copy):
    path = f"{copy.run.checkpoint('lm', 1, 'final')}_cache_data"
    torch.save(torch.load(path, weights_only=True).float(), path)


def an_attr_is_a_list(copy):
    copy.attrs(lambda attrs: attrs.update(epochs=[2]))


def the_threshold_time_is_text(copy):
    copy.attrs(lambda attrs: attrs.update(lbfgs_threshold_time="long"))


def a_name_is_missing(copy):
    copy.frame(lambda frame: frame.assign(dataset_name=frame["dataset_name"].where(frame["epoch"] != 2)))


def a_model_type_is_a_number(copy):
    copy.frame(lambda frame: frame.assign(optimizer=pd.Series([5] * len(frame), dtype=object)))


def a_checkpoint_has_a_number_for_a_name(copy):
    copy.metadata(lambda metadata: metadata["lm"][1].update({7: metadata["lm"][1].pop("final")}))


def a_model_has_three_inputs(copy):
    shape = initialize([3, 2, 1], 5)
    write_checkpoint(shape, copy.run.checkpoint("lm", 1, "final"), np.zeros((60, 2)))


FAULTS = {  # what is planted → what is said of which file
    a_file_is_missing: r"lm_0_final_cache_data: missing",
    a_frame_is_missing: r"lm\.parquet: missing",
    a_frame_is_cut: r"adam\.pkl: cannot be read",
    an_attr_is_missing: r"adam\.pkl: its attrs have no device",
    derivable_attrs: r"adam\.pkl: its attrs have grids, which can be derived from the columns",
    attrs_of_another_run: r"adam\.pkl: timestamp is '20200101_000000' in its attrs, '20260101_000000' in its name",
    provenance_is_cut: r"adam\.pkl: provenance: allowed: a dict with",
    the_threshold_time_is_another: r"adam\.pkl: lbfgs_threshold_time is .*, but the mean of lbfgs is",
    a_loss_in_a_frame_is_another: r"metadata\.pkl: adam, dataset 0, at_threshold: test_loss is .*, in the frame",
    parquet_and_pickle_differ: r"adam\.parquet: n_evals differ from those of the pickled frame",
    an_epoch_is_missing: r"adam\.pkl: dataset 0: the epochs are not 1 to 3",
    the_last_epoch_is_missing: r"metadata\.pkl: adam, dataset 0, final: epoch 4, but the frame ends with 3",
    an_epoch_is_there_twice: r"adam\.pkl: dataset 1: the epochs are not 1 to 5",
    time_goes_back: r"adam\.pkl: dataset 0: time decreases, or is 0 at the end",
    a_loss_is_negative: r"adam\.pkl: train_loss: found less than 0; allowed: mean squares",
    no_evaluations: r"adam\.pkl: dataset 0: n_evals does not increase from 0 with every epoch",
    evaluations_below_zero: r"adam\.pkl: dataset 1: n_evals does not increase from 0 with every epoch",
    an_epoch_without_evaluations: r"adam\.pkl: dataset 1: n_evals does not increase from 0 with every epoch",
    no_time_passes: r"adam\.pkl: dataset 1: time decreases, or is 0 at the end",
    a_grid_gets_coarser: r"adam\.pkl: dataset 0: grid_size decreases",
    datasets_in_another_order: r"adam\.pkl: the datasets are not in the order of dataset_idx",
    the_threshold_time_of_another_section: r"lm\.pkl: baseline_threshold_time: found 3\.0; allowed: None",
    numbers_of_numpys_are_in_the_metadata: r"metadata\.pkl: found numpy scalars; allowed: builtin types",
    datasets_of_text_are_in_the_metadata: r"metadata\.pkl: lm: datasets: found '0', '1'; allowed: 0, 1",
    the_state_is_in_single_precision: r"lm_1_final_state: found torch\.float32; allowed: torch\.float64",
    the_inputs_are_in_single_precision: r"lm_1_final_cache_data: found torch\.float32; allowed: torch\.float64",
    a_column_is_missing: r"adam\.pkl: no columns dense_mse",
    a_column_of_text: r"adam\.pkl: epoch: found string; allowed: numbers",
    a_column_without_values: r"adam\.pkl: train_loss: found numbers that are not finite",
    a_column_of_another_type: r"adam\.pkl: epoch: found float64; allowed: int64",
    a_dataset_has_another_name: r"lbfgs\.pkl: dataset 1 is poisson_2d_sin, in another frame sin",
    another_model_types_rows: r"adam\.pkl: optimizer: found lm",
    a_loss_in_the_metadata_is_another: r"lm_1_final_state: dense_mse is .*; recorded: ",
    a_training_is_not_in_the_metadata: r"metadata\.pkl: lm: datasets: found 0; allowed: 0, 1",
    a_metric_is_missing: r"metadata\.pkl: lm, dataset 1, final: missing: grid_size",
    weights_are_in_the_metadata: r"metadata\.pkl: refused: it names .*rebuild_tensor|OrderedDict",
    weights_as_lists_are_in_the_metadata: r"metadata\.pkl: lm, dataset 1, final: coef: found a list; allowed: a number",
    the_metadata_are_too_large: r"metadata\.pkl: found \d+ bytes for 12 checkpoints",
    the_threshold_is_another_epoch: r"metadata\.pkl: adam, dataset 0, at_threshold: epoch \d, but the threshold is 2",
    a_coefficient_is_another: r"lm_1_final_state: train_loss is .*; recorded: ",
    the_checkpoints_are_exchanged: r"lbfgs_1_final_state: train_loss is .*; recorded: ",
    an_edge_is_masked: r"lm_1_final_state: \d+ parameters; recorded: ",
    the_training_inputs_are_others: r"lm_1_final_cache_data: not the training inputs that its settings describe",
    a_checkpoint_is_cut: r"lm_1_final_state: cannot be read",
    a_checkpoint_is_for_cuda: r"lm_1_final_config\.yml: device: found 'cuda'; allowed: cpu",
    a_checkpoints_grid_is_another: r"lm_1_final_state: found coefficients of shapes",
    a_loss_between_checkpoints_is_another: r"adam\.pkl: train_loss differ from those of the frame built",
    an_index_is_damaged: r"adam\.pkl: dataset_idx: found nan",
    an_index_of_text: r"adam\.pkl: dataset_idx: found string; allowed: numbers",
    an_index_is_enormous: r"adam\.pkl: dataset_idx: found 2\.68435e\+08; allowed: integers",
    an_attr_is_a_list: r"adam\.pkl: epochs is \[2\] in its attrs, 2 in its name",
    the_threshold_time_is_text: r"adam\.pkl: lbfgs_threshold_time: found 'long'; allowed: seconds",
    a_name_is_missing: r"adam\.pkl: dataset_name: found object; allowed: text",
    a_model_type_is_a_number: r"adam\.pkl: optimizer: found object; allowed: text",
    a_checkpoint_has_a_number_for_a_name: r"metadata\.pkl: lm, dataset 1: checkpoints: found 'at_threshold', 7",
    a_model_has_three_inputs: r"lm_1_final_\w+: found 3 inputs",
    provenance_is_text: r"adam\.pkl: provenance: allowed: a dict with",
    another_trainings_settings: r"lm_1\.json: its settings are not those of the frame",
}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant, tiny_results, tmp_path):
    for folder in ("sec1_results", "trainings"):
        shutil.copytree(tiny_results / folder, tmp_path / folder)
    run = Run("section2_1", STAMP, 2, str(tmp_path))
    plant(Copy(run))
    faults = verify(opened(run)).faults
    assert any(pd.Series([fault]).str.contains(FAULTS[plant], regex=True).item() for fault in faults), faults
    assert all("\n" not in fault and fault.startswith(str(tmp_path)) for fault in faults)


def test_other_files_with_the_name_of_a_run_are_named(tiny_results, tmp_path):
    """A fault if `load_run` takes them for files of the run; what is left of an earlier format may stay."""
    for folder in ("sec1_results", "trainings"):
        shutil.copytree(tiny_results / folder, tmp_path / folder)
    run = Run("section2_1", STAMP, 2, str(tmp_path))
    name = f"{run.folder}/{run.name}"
    state = Path(f"{name}_adam_0_final_state").read_bytes()
    read = ["baseline.pkl", "adam_7_final_state", "baseline_0_final_state"]
    unread = ["adam.pkl.part.1234", "adam_0_final_state.bak", "s2_adam.parquet", "adam_1000_final_state"]
    left = ["meta.json", "adam_0_state", "adam_0_final.pth"]
    of_others = [f"{run.folder}/section2_1_{STAMP}_e20_lm_0_final_state", f"{run.folder}/section2_1_{STAMP}_adam.pkl"]
    for path in (*(f"{name}_{ending}" for ending in (*read, *unread, *left)), *of_others):
        Path(path).write_bytes(state)
    findings = verify(opened(run))
    assert findings.faults == sorted(f"{name}_{ending}: not a file of this run" for ending in read)
    assert findings.notes == sorted(f"{name}_{ending}: not a file of this run" for ending in unread)


def test_columns_of_others_are_no_faults(tiny_results, tmp_path):
    shutil.copytree(tiny_results, tmp_path, dirs_exist_ok=True)
    run = Run("section2_1", STAMP, 2, str(tmp_path))
    Copy(run).frame(lambda frame: frame.assign(mine=5))
    shutil.rmtree(tmp_path / "trainings")  # with which the frame is compared as a whole
    findings = verify(opened(run))
    assert findings.faults == []
    assert f"{run.frame('adam')}: columns mine, which kanbench does not write" in findings.notes


def experts_are_missing(copy):
    copy.frame(lambda frame: frame.iloc[1:], "experts")


def another_expert_is_selected(copy):
    copy.frame(lambda frame: frame.assign(selected=~frame["selected"]), "experts")


def the_summary_says_another_loss(copy):
    copy.frame(lambda frame: frame.assign(merged_dense_mse=frame["merged_dense_mse"] * 0.9), "summary")


def a_summary_of_one_dataset(copy):
    copy.frame(lambda frame: frame.iloc[:1], "summary")


def a_dataset_is_in_the_summary_twice(copy):
    copy.frame(lambda frame: frame.iloc[[0, 1, 1]].reset_index(drop=True), "summary")


def a_history_of_no_dataset(copy):
    copy.frame(lambda frame: frame.assign(dataset_idx=frame["dataset_idx"] + 1), "grid_history")


def a_number_as_text(copy):
    copy.frame(lambda frame: frame.assign(control_num_params=frame["control_num_params"].astype(str)), "summary")


def a_negative_loss_in_the_summary(copy):
    copy.frame(lambda frame: frame.assign(control_dense_mse=-1.0), "summary")


def the_summary_says_another_threshold(copy):
    copy.frame(lambda frame: frame.assign(merged_threshold_dense_mse=0.5), "summary")


def an_experts_loss_is_another(copy):
    copy.frame(lambda frame: frame.assign(dense_mse=1.0), "experts")


def a_selected_experts_loss_is_another(copy):
    copy.frame(lambda frame: frame.assign(dense_mse=1.0), "selected_experts")


def the_others_are_selected(copy):
    """In both frames, so that they agree."""
    experts = pd.read_pickle(copy.run.frame("experts"))
    others = experts[~experts["selected"]].sort_values(["dataset_idx", "valid_loss"], ignore_index=True)
    copy.frame(lambda frame: frame.assign(**others.drop(columns="selected")), "selected_experts")
    copy.frame(lambda frame: frame.assign(selected=~frame["selected"]), "experts")


def all_experts_are_first(copy):
    copy.frame(lambda frame: frame.assign(rank=1), "selected_experts")


def the_best_expert_is_last(copy):
    copy.frame(
        lambda frame: frame.assign(rank=3 - frame["rank"]).sort_values(["dataset_idx", "rank"]), "selected_experts"
    )


def no_expert_has_weight(copy):
    copy.frame(lambda frame: frame.assign(weight=0.0), "selected_experts")


FAULTS_OF_MERGING = {
    experts_are_missing: r"experts\.pkl: dataset 0: n_experts is 3, in the attrs 4",
    another_expert_is_selected: r"selected_experts\.pkl: not the experts that are selected in the frame experts",
    a_summary_of_one_dataset: r"summary\.pkl: datasets: found 0; allowed: 0, 1",
    a_dataset_is_in_the_summary_twice: r"summary\.pkl: datasets: found 0, 1, 1; allowed: 0, 1",
    a_history_of_no_dataset: r"grid_history\.pkl: datasets: found 1, 2; allowed: 0, 1",
    a_number_as_text: r"summary\.pkl: control_num_params: found object; allowed: numbers",
    a_negative_loss_in_the_summary: r"summary\.pkl: control_dense_mse: found less than 0; allowed: mean squares",
    an_experts_loss_is_another: r"selected_experts\.pkl: dense_mse differ from those in the frame experts",
    a_selected_experts_loss_is_another: r"selected_experts\.pkl: dense_mse differ from those in the frame experts",
    the_others_are_selected: r"\d_experts\.pkl: dataset 0: selected: not the experts that follow from valid_loss and",
    all_experts_are_first: r"selected_experts\.pkl: dataset 1: rank: not 1 to 2, in the order of valid_loss",
    the_best_expert_is_last: r"selected_experts\.pkl: dataset 0: rank: not 1 to 2, in the order of valid_loss",
    no_expert_has_weight: r"selected_experts\.pkl: dataset 0: weight: found 0 for all",
    the_summary_says_another_threshold: r"merged_threshold_dense_mse is not that of the at_threshold checkpoint",
    the_summary_says_another_loss: r"summary\.pkl: dataset 0: merged_dense_mse is not that of the final checkpoint",
}


@pytest.mark.parametrize("plant", FAULTS_OF_MERGING, ids=lambda plant: plant.__name__)
def test_a_planted_fault_in_a_run_of_merging_is_found(plant, tiny_results, tmp_path):
    for folder in ("sec3_results", "trainings"):
        shutil.copytree(tiny_results / folder, tmp_path / folder)
    run = Run("section2_3", STAMP, None, str(tmp_path))
    plant(Copy(run))
    faults = verify(opened(run)).faults
    assert any(pd.Series([fault]).str.contains(FAULTS_OF_MERGING[plant], regex=True).item() for fault in faults), faults


def test_the_summary_says_what_the_other_frames_say(tiny_results, tmp_path):
    shutil.copytree(tiny_results / "sec3_results", tmp_path / "sec3_results")
    run = Run("section2_3", STAMP, None, str(tmp_path))
    of_merged = [
        f"merged_{key}" for key in ("dense_mse", "test_loss", "grid_size", "num_params", "n_evals", "flops", "time")
    ]
    of_experts = ["n_experts_trained", "n_experts_selected", "best_expert_dense_mse", "chosen_expert_dense_mse"]
    columns = [*of_experts, "experts_n_evals", "experts_flops", "experts_time", *of_merged]
    Copy(run).frame(lambda frame: frame.assign(**{name: 2 * frame[name] for name in columns}), "summary")
    faults = " ".join(verify(opened(run)).faults)
    assert [name for name in columns if f"summary.pkl: dataset 1: {name} is " not in faults] == []


def test_a_merged_model_may_have_no_history(tiny_results, tmp_path):
    """That of a training which ended in its first epoch."""
    shutil.copytree(tiny_results / "sec3_results", tmp_path / "sec3_results")
    run = Run("section2_3", STAMP, None, str(tmp_path))
    Copy(run).frame(lambda frame: frame[frame["dataset_idx"] == 0], "grid_history")
    assert all("checkpoint_metadata.pkl: merge_kan, dataset 1" in fault for fault in verify(opened(run)).faults)


def test_runs_of_earlier_formats_are_to_be_migrated_first(tmp_path):
    for run in (Run("section1_1", STAMP, 2, str(tmp_path)), Run("section2_1", STAMP, None, str(tmp_path))):
        with pytest.raises(InputError, match="earlier format") as error:
            verify(opened(run))
        assert error.value.where == run.name


def test_a_mistake_in_a_check_is_no_fault_of_the_run(tiny_results, monkeypatch):
    """It raises: only what reading a file raises is a fault of the file."""

    def mistaken(checked):
        raise KeyError("n_evals")

    monkeypatch.setattr(verification, "check_frames_of_run", mistaken)
    with pytest.raises(KeyError):
        verify(opened(Run("section2_1", STAMP, 2, str(tiny_results))))
