"""The schema of frames: that frames are what it says, and so is their documentation."""

import pytest

from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.storage import schema
from kanbench.storage.frames import read_frame
from support.results import STAMP

TYPES = {"int64": "integer", "float64": "number", "object": "text", "bool": "boolean"}
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


def as_markdown():
    """The table of all columns in results/README.md."""
    rows = ["| column | frames | type | unit | meaning |", "|---|---|---|---|---|"]
    every = {frame for column in schema.COLUMNS for frame in column.frames}
    for column in schema.COLUMNS:
        frames = "all" if set(column.frames) == every else ", ".join(column.frames)
        rows.append(f"| `{column.name}` | {frames} | {TYPES[column.dtype]} | {column.unit} | {column.meaning} |")
    return "\n".join(rows) + "\n"


def test_the_documentation_has_the_columns():
    text = (ROOT / "results" / "README.md").read_text()
    assert text.partition("<!-- columns -->\n")[2].partition("<!-- end of columns -->")[0] == as_markdown()
