"""Consolidation: what the commands write, and that outputs and records are checked before anything is written."""

from pathlib import Path

import msgspec
import pytest

from kanbench.errors import InputError
from kanbench.jobs.consolidation import consolidate_frame, consolidate_merge_frame, consolidate_metadata
from kanbench.plan.naming import Run
from kanbench.storage.frames import build_frame, read_frame
from kanbench.storage.metadata import build_metadata, read_metadata
from kanbench.storage.training_record import write_record
from support.records import STAMP, TRAININGS, frame_of

OF_MERGING = Run("section2_3", STAMP)


@pytest.fixture
def records(tmp_path):
    """The paths of the records of all trainings of section 2.1, by model type."""
    paths = {name: [tmp_path / f"{name}_{i}.json" for i in (0, 1)] for name in TRAININGS}
    for name, parts in paths.items():
        for path, record in zip(parts, TRAININGS[name], strict=True):
            write_record(record, path)
    return paths


def test_a_frame_is_written_in_every_format(records, tmp_path):
    outputs = [tmp_path / "frame.pkl", tmp_path / "frame.parquet"]
    consolidate_frame(outputs, records["lm"], records["lbfgs"])
    for output in outputs:
        assert read_frame(output).equals(frame_of("lm"))


def with_seed(record, seed):
    """It has another test loss, too."""
    history = [{**row, "test_loss": row["test_loss"] + seed} for row in record.history]
    return msgspec.structs.replace(record, history=history, provenance={**record.provenance, "seed": seed})


@pytest.fixture
def of_seeds(tmp_path):
    """The records with seeds 2 and 3, and their paths, by model type."""
    records = {m: [with_seed(record, seed) for seed in (2, 3) for record in TRAININGS[m]] for m in ("lm", "lbfgs")}
    paths = {m: [tmp_path / f"{m}_{i}.json" for i in range(4)] for m in records}
    for model_type, of_model_type in records.items():
        for path, record in zip(paths[model_type], of_model_type, strict=True):
            write_record(record, path)
    return records, paths


REPLICATES = [Run("section2_1", STAMP, 2).replicate(seed) for seed in (3, 2)]


def test_every_seed_has_a_frame(of_seeds, tmp_path):
    records, paths = of_seeds
    outputs = [tmp_path / Path(run.frame("lm")).name for run in REPLICATES]
    consolidate_frame(outputs, paths["lm"], paths["lbfgs"][::-1])
    for run, output in zip(REPLICATES, outputs, strict=True):
        alone = [[each for each in records[m] if each.provenance["seed"] == run.seed] for m in ("lm", "lbfgs")]
        expected, frame = build_frame(*alone), read_frame(output)
        assert frame.equals(expected)
        assert frame.attrs == expected.attrs


@pytest.mark.parametrize("lacking", ["outputs", "trainings", "reference"])
def test_seeds_that_do_not_go_together_are_one_line(of_seeds, tmp_path, lacking):
    _, paths = of_seeds
    outputs = [tmp_path / Path(run.frame("lm")).name for run in REPLICATES]
    parts = {"outputs": outputs, "trainings": paths["lm"], "reference": paths["lbfgs"]}
    parts[lacking] = parts[lacking][: len(parts[lacking]) // 2]
    with pytest.raises(InputError, match="seed"):
        consolidate_frame(**parts)
    assert not any(output.exists() for output in outputs)


def test_metadata_are_written(records, tmp_path):
    consolidate_metadata(tmp_path / "metadata.pkl", records["lm"] + records["adam"])
    assert read_metadata(tmp_path / "metadata.pkl") == build_metadata(TRAININGS["adam"] + TRAININGS["lm"])


@pytest.mark.parametrize(
    "names",
    [
        [Run("section2_1", STAMP, 2).frame("adam")],
        [OF_MERGING.frame("summary"), OF_MERGING.frame("experts")],
        [OF_MERGING.checkpoint_metadata()],
    ],
)
def test_outputs_are_of_one_frame_of_section_2_3(names, records, tmp_path):
    with pytest.raises(InputError, match="section2_3") as error:
        consolidate_merge_frame([tmp_path / name for name in names], 2, experts=records["adam"])
    assert error.value.where == str(tmp_path / names[0])


def test_a_damaged_record_stops_it(records, tmp_path):
    records["lm"][1].write_text("{")
    with pytest.raises(InputError, match="damaged") as error:
        consolidate_frame([tmp_path / "frame.pkl"], records["lm"], records["lbfgs"])
    assert error.value.where == str(records["lm"][1])
    assert not (tmp_path / "frame.pkl").exists()
