"""Trainings of other settings, problems or versions: what is put together, what is refused, and what is said."""

import pytest
from msgspec.structs import replace

from kanbench.errors import InputError
from kanbench.io import made_by
from kanbench.plan.config import merge
from kanbench.plan.naming import Run
from kanbench.plan.settings import as_dict, expert_settings, merge_settings, training_settings
from kanbench.storage.attrs import mixed
from kanbench.storage.comparable import comparable
from kanbench.storage.frames import build_frame
from kanbench.storage.training_record import common_settings, provenance
from kanbench.storage.verification.frames import check_frames_of_run
from kanbench.storage.verification.report import CheckedRun, VerificationReport
from support.records import STAMP, record


@pytest.fixture
def trained(config):
    """A record of a model type on the first dataset; `over` is the configuration's."""

    def make(model_type, over=None, source=None, seed=None, **made):
        settings = as_dict(training_settings(merge(config, over or {}), "section2_1", model_type, 0, seed))
        settings |= {"source": source or {}}
        said = provenance(settings, "compiled", "thread") | made
        said = {key: value for key, value in said.items() if value is not None}
        new = replace(record(model_type, 0), dataset_name=settings["problem"], settings=settings, provenance=said)
        return replace(new, inputs=2, target={"variance": 1.0, "typical": 1.0, "largest": 1.0, "mean": 0.0})

    return make


OTHER = {"data": {"train_num": 7}}


def test_a_frame_is_of_one_problem_and_of_the_same_settings(trained):
    assert len(build_frame([trained("lm")], [trained("lbfgs")]))
    with pytest.raises(InputError, match=r"source of poisson_2d_sin: found lm with .*'b'.*, lbfgs with .*'a'"):
        build_frame([trained("lm", source={"digest": "b"})], [trained("lbfgs", source={"digest": "a"})])
    with pytest.raises(InputError, match=r"data.train_num of poisson_2d_sin: found lm with 1000, lbfgs with 7"):
        build_frame([trained("lm")], [trained("lbfgs", OTHER)])


def frames_of(*records):
    return {each.model_type: build_frame([each], [replace(each, model_type="lbfgs")]) for each in records}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"over": OTHER},
            r"^section2_1_20260101_000000: found several versions of settings, by digest \(lm: \w+; adam: \w+\)",
        ),
        (
            {"source": {"digest": "b"}},
            r"found several versions of problem poisson_2d_sin, by digest \(lm: a; adam: b\)",
        ),
    ],
)
def test_what_is_compared_is_of_one_problem_and_of_the_same_settings(trained, other, message):
    """In tables, figures and on the page, which all have their frames from there; of other seeds, too."""
    first = {"source": {"digest": "a"}}
    assert comparable({1: frames_of(trained("lm", **first), trained("adam", **first))}).notes == ()
    with pytest.raises(InputError, match=message):
        comparable({1: frames_of(trained("lm", **first), trained("adam", **(first | other)))})
    with pytest.raises(InputError, match=r"lm: .*; lm with seed 2: "):
        comparable({1: frames_of(trained("lm", **first)), 2: frames_of(trained("lm", seed=2, **(first | other)))})


def test_a_table_is_another_with_other_columns_but_not_in_another_place(trained):
    columns = {"inputs": ["a", "b"], "target": "y", "shares": [0.6, 0.2, 0.1, 0.1]}
    source = {"path": "here.csv", "digest": "a", "columns": columns}
    moved, other = {**source, "path": "there.csv"}, {**source, "columns": {**columns, "target": "z"}}
    assert comparable({1: frames_of(trained("lm", source=source), trained("adam", source=moved))})
    with pytest.raises(InputError, match=r"several versions of problem poisson_2d_sin.*lm: a \{.*; adam: a \{.*z"):
        comparable({1: frames_of(trained("lm", source=source), trained("adam", source=other))})


def test_what_all_trainings_of_a_section_share(config):
    def common(section, model_type, **over):
        return common_settings(
            as_dict(training_settings(merge(config, over), section, model_type, 1, over.get("seed")))
        )

    adam, lm = (common("section2_1", model_type) for model_type in ("adam", "lm"))
    assert adam == lm
    assert {"data.train_num", "grids.sizes", "model.k", "timing.repeats", "dtype"} <= adam.keys()
    baseline, regular = (common("section2_2", model_type) for model_type in ("baseline", "adaptive_regular"))
    assert baseline == regular
    assert baseline != common("section2_2", "baseline", adaptive_density={"optimizer": "lm"})
    merged, expert = merge_settings(config, 0), expert_settings(config, 0, 2, 3, 5)
    assert common_settings(as_dict(merged)) == common_settings(as_dict(expert))


def test_versions_and_processors_may_be_mixed_and_are_named(trained):
    """After an update, or on a cluster of several kinds of nodes; earlier versions recorded neither."""
    new, old = trained("lm", code="new", processor="zen3"), trained("adam", code=None, processor=None)
    frames = frames_of(new, old)
    code, processor = mixed(frames)
    assert code == "Trained by several versions of kanbench's code: lm: new; adam: not recorded."
    assert "lm: zen3; adam: not recorded" in processor
    assert comparable({1: frames}).notes == (code, processor)
    report = VerificationReport()
    check_frames_of_run(CheckedRun(Run("section2_1", STAMP, 2), frames, [0], report))
    assert [line.endswith(said) for line, said in zip(report.remarks, (code, processor), strict=True)] == [True] * 2
    both = replace(trained("lm", code="other"), dataset_idx=1)
    frame = build_frame([new, both], [replace(r, model_type="lbfgs") for r in (new, both)])
    assert frame.attrs["provenance"]["code"] == ["new", "other"]
    assert mixed({"lm": frame})[0].endswith(": lm: new; lm: other.")
    assert mixed(frames_of(old)) == []


def test_provenance_names_the_code_and_the_processor(trained):
    said = trained("lm").provenance
    assert said["code"] == made_by.code_digest()
    assert said["processor"] == made_by.processor()
    assert made_by.processor().count(";") == 1


def test_the_code_that_trainings_rest_on(tmp_path, monkeypatch):
    def digest():
        made_by.code_digest.cache_clear()
        return made_by.code_digest()

    try:
        for name in ("errors.py", "engine/a.py", "presentation/b.py"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("1")
        monkeypatch.setattr(made_by, "PACKAGE", tmp_path)
        first = digest()
        (tmp_path / "presentation/b.py").write_text("2")
        assert digest() == first
        (tmp_path / "engine/a.py").write_text("2")
        assert digest() != first
    finally:
        monkeypatch.undo()
        made_by.code_digest.cache_clear()
