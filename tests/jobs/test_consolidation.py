"""Consolidation: what the commands write, and that outputs and records are checked before anything is written."""

import pytest

from kanbench.errors import InputError
from kanbench.jobs.consolidation import consolidate_frame, consolidate_merge_frame, consolidate_metadata
from kanbench.plan.naming import Run
from kanbench.storage.frames import read_frame
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
