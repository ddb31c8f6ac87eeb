"""The schema of frames: that frames are what it says."""

import pytest

from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.presentation.documents import TYPES
from kanbench.storage import schema
from kanbench.storage.frames import read_frame
from support.results import STAMP

FRAMES = [(section, name) for section in SECTIONS for name in SECTIONS[section].frames]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pkl", "parquet"])
@pytest.mark.parametrize(("section", "name"), FRAMES)
def test_frames_of_the_pipeline_have_these_columns(section, name, suffix, tiny_results):
    run = Run(section, STAMP, 2 if SECTIONS[section].reference else None, str(tiny_results))
    frame = read_frame(run.frame(name, suffix))
    assert frame.dtypes.astype(str).to_dict() == schema.dtypes(section, name)
    assert list(frame) == list(schema.columns(section, name))
    assert len(frame)


@pytest.mark.parametrize(("section", "name"), FRAMES)
def test_a_frame_has_no_column_twice(section, name):
    names = [column.name for column in schema.COLUMNS if {section, name} & set(column.frames)]
    assert len(names) == len(set(names)) == len(schema.columns(f"{section}_variant", name)) > 10


def test_what_columns_are_is_known():
    for column in schema.COLUMNS:
        assert column.dtype in TYPES
        assert column.meaning
        assert (column.unit == "s") == column.name.endswith("time") or column.name == "time_per_epoch"
