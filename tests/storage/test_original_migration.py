"""Runs of the original study's scripts become runs of the present format, and nothing of them is lost."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from kan import KAN

import kanbench
from support.original import merging, optimizers_newest
from support.original_cases import (
    CHECKPOINT,
    EARLY_CASES,
    HISTORY,
    LOSSES,
    ODD_CASES,
    REAL_EARLY,
    WITH_FRAMES,
    Case,
    Written,
    assert_same_history,
    comparable,
    in_squares,
    parameters,
)
from support.original_readers import called, loaded, of_cases, opened, outcome
from support.original_trainings import TARGETS, aside, loss, samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of what is found in files; others are errors

OTHERS = parameters(*ODD_CASES, *EARLY_CASES, *REAL_EARLY)
PRESENT_NAMES = {"merged_kans": "merge_kan", "pruned": "kan_pruning"}
EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Migrated:
    """A copy of a run after `migrate`, and what the command said."""

    run: Written
    status: int
    said: str


@pytest.fixture(scope="module")
def migrated(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Migrated:
    run = written.copy(tmp_path_factory.mktemp("migrated"))
    return Migrated(run, *migrate(run))


def migrate(run: Written, *options: str) -> tuple[int, str]:
    return outcome(["migrate", "--results-dir", str(run.results), *options])


def contents(run: Written) -> dict[Path, bytes]:
    return {path.relative_to(run.results): path.read_bytes() for path in run.files}


def checkpoints(written: Written, migrated: Written) -> Iterator[tuple[str, int, str, Path]]:
    """Model type, dataset, checkpoint and base of every checkpoint of a run, as migration names them."""
    epochs = next(iter(written.frames.values())).attrs["epochs"]
    stem = f"{written.section}_{written.case.timestamp}" + (f"_e{epochs}" if epochs else "")
    for base in written.bases:
        found = CHECKPOINT.fullmatch(base.name)
        name, checkpoint = PRESENT_NAMES.get(found["name"], found["name"]), found["checkpoint"] or "final"
        files = migrated.results.glob(f"sec*/{stem}_{name}_{found['i']}_{checkpoint}_config.yml")
        path = next(files, Path(f"no {name} {found['i']} {checkpoint}_config.yml"))
        yield name, int(found["i"]), checkpoint, path.with_name(path.name.removesuffix("_config.yml"))


def dataset_names(run: Written) -> dict[int, str]:
    frames = [frame for frame in run.frames.values() if "dataset_idx" in frame]
    return {i: name for frame in frames for i, name in zip(frame["dataset_idx"], frame["dataset_name"], strict=True)}


def tolerance(value: float, dataset: str, part: str) -> float:
    """Of a mean squared error: one in 100,000, or what rounding targets to single precision changes."""
    rounding = EPSILON * float((samples(dataset)[f"{part}_label"] ** 2).mean() ** 0.5)
    return max(1e-5 * value, 2 * value**0.5 * rounding + rounding**2)


@of_cases(WITH_FRAMES)
def test_a_run_is_migrated(migrated):
    assert migrated.status == 0, migrated.said
    assert "write " in migrated.said


@of_cases(OTHERS)
def test_what_cannot_be_migrated_is_one_clear_line_and_stays(written, tmp_path):
    run = written.copy(tmp_path)
    before = contents(run)
    status, said = migrate(run)
    assert said
    kept = contents(run)
    if status:
        assert kept == before
    assert_nothing_is_lost(before, kept)


@of_cases(WITH_FRAMES)
def test_a_dry_run_changes_nothing(written, tmp_path):
    run = written.copy(tmp_path)
    before = contents(run)
    status, said = migrate(run, "--dry-run")
    assert status == 0 and "would write " in said
    assert contents(run) == before


@of_cases(WITH_FRAMES)
def test_a_second_time_there_is_nothing_to_do(migrated, tmp_path):
    assert migrated.status == 0, migrated.said
    run = migrated.run.copy(tmp_path)
    before = contents(run)
    status, said = migrate(run)
    assert status == 0
    assert all("nothing to do" in line for line in said.splitlines()), said
    assert contents(run) == before


@of_cases(WITH_FRAMES)
def test_all_files_are_still_there(written, migrated):
    assert migrated.status == 0, migrated.said
    assert_nothing_is_lost(contents(written), contents(migrated.run))


def assert_nothing_is_lost(before: dict[Path, bytes], after: dict[Path, bytes]) -> None:
    """Every file is where it was, or a copy of it in a folder below."""
    kept = {(path.name, content) for path, content in after.items()}
    lost = [str(path) for path, content in before.items() if (path.name, content) not in kept]
    assert not lost


@of_cases(WITH_FRAMES)
def test_frames_are_of_the_present_format(written, migrated):
    assert migrated.status == 0, migrated.said
    results, meta = loaded(migrated.run)
    assert meta["section"] == written.section
    for name, stored in written.frames.items():
        if len(stored):
            assert re.search("mse|squared|loss", str(results[name].attrs["provenance"]).lower())
        if "epoch" in stored:
            made = results[name]
            assert made["epoch"].min() == 1
            assert made["time"].notna().all()
            if written.section.startswith("section2"):
                assert_same_history(made, comparable(stored, written.measure(name)))
        elif "final_test_loss" in stored:
            for part in LOSSES:
                column = part if part in results[name] else f"final_{part}"
                expected = in_squares(stored[f"final_{part}"], "rmse")
                assert list(results[name][column]) == pytest.approx(expected, rel=1e-6)


@of_cases(WITH_FRAMES)
def test_what_is_compared_stays_the_same(written, migrated):
    assert migrated.status == 0, migrated.said
    before, after = (next(iter(opened(run).comparable.replicates.values())) for run in (written, migrated.run))
    assert before.keys() == after.keys()
    for name, frame in before.items():
        if set(HISTORY) <= set(frame):
            assert_same_history(after[name], frame)


@of_cases(WITH_FRAMES)
def test_plain_pykan_reads_the_checkpoints_and_they_are_what_the_metadata_say(written, migrated):
    assert migrated.status == 0, migrated.said
    wanted = list(checkpoints(written, migrated.run))
    if not wanted:
        return
    timestamp, names = written.case.timestamp, dataset_names(written)
    metadata = kanbench.load_checkpoint_metadata(written.section, timestamp, results_dir=migrated.run.results)
    for model_type, i, checkpoint, base in wanted:
        kept, dataset = metadata[model_type][i][checkpoint], names[i]
        with aside():
            model = KAN.loadckpt(str(base))
        parts = ("test", "train") if dataset.startswith("poisson") else ("test",)  # else the samples are not known
        for part in parts if dataset in TARGETS else ():
            value = loss(model, dataset, part)
            assert abs(kept[f"{part}_loss"] - value) <= tolerance(value, dataset, part), (base.name, part)


@of_cases(WITH_FRAMES)
@pytest.mark.parametrize("command", ["list", "inspect", "verify", "tables", "summary"])
def test_every_command_reads_what_was_migrated(command, migrated, tmp_path):
    assert migrated.status == 0, migrated.said
    status, last = called(command, migrated.run, tmp_path)
    assert status == 0 or command == "verify", last  # which names what an older run does not have


@pytest.mark.parametrize("write", [optimizers_newest, merging], ids=lambda write: write.__name__)
def test_a_whole_run_that_was_converted_has_no_faults(write, tmp_path):
    section = write(tmp_path)
    assert outcome(["migrate", "--results-dir", str(tmp_path)])[0] == 0
    status, said = outcome(["verify", section, "--results-dir", str(tmp_path)])
    assert status == 0, said


class Killed(BaseException):
    """What ends a process in the middle."""


@pytest.fixture
def killed_at(monkeypatch):
    """Let the next migration end before its nth renaming of a file; tell whether it got there."""

    def kill(number):
        count, replace = [0], Path.replace

        def counted(path, target):
            count[0] += 1
            if count[0] == number:
                raise Killed
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", counted)
        return lambda: (monkeypatch.setattr(Path, "replace", replace), count[0] >= number)[1]

    return kill


@pytest.mark.slow
@pytest.mark.parametrize("write", [optimizers_newest, merging], ids=lambda write: write.__name__)
def test_a_conversion_that_was_killed_is_read_rightly_and_finished(write, tmp_path, killed_at):
    """Wherever it ended, the names being those that the files had: every frame says what its own losses are."""
    whole = Written(Case(write.__name__, write), tmp_path / "whole", write(tmp_path / "whole"))
    before, expected = contents(whole), next(iter(opened(whole).comparable.replicates.values()))
    finished = whole.copy(tmp_path / "finished")
    assert migrate(finished)[0] == 0
    wanted = contents(finished)
    for number in range(1, 200, 3):
        run = whole.copy(tmp_path / f"killed{number}")
        reached = killed_at(number)
        with contextlib.suppress(Killed):
            migrate(run)
        if not reached():
            break
        for name, frame in next(iter(opened(run).comparable.replicates.values())).items():
            if "test_loss" in frame:
                assert list(frame["test_loss"]) == pytest.approx(list(expected[name]["test_loss"]), rel=1e-6), name
        status, said = migrate(run)
        assert status == 0, said
        after = contents(run)
        assert_nothing_is_lost(before, after)
        assert after.keys() == wanted.keys()
        differing = [path for path in wanted if path.suffix != ".parquet" and after[path] != wanted[path]]
        assert not differing, number
        shutil.rmtree(run.results)
    assert number > 10


def test_of_a_run_whose_names_stay_the_files_are_kept_in_another_folder(tmp_path):
    case = Case("optimizers_newest", optimizers_newest)
    run = Written(case, tmp_path, optimizers_newest(tmp_path))
    before = contents(run)
    assert migrate(run)[0] == 0
    after = contents(run)
    rewritten = [path for path, content in before.items() if after[path] != content]
    assert {path.suffix for path in rewritten} >= {".pkl", ".yml"}
    for path in rewritten:
        copies = [other for other in after if other.name == path.name and other != path]
        assert any(after[other] == before[path] and path.parent in other.parents for other in copies), path
    assert {path.name for path in run.results.glob("sec1_results/*_e2_lm.*")} == {
        f"{run.stem}_lm.pkl",
        f"{run.stem}_lm.parquet",
    }
