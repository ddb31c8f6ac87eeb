"""Trainings that are interrupted resume, and end as they would have ended."""

import dataclasses
import errno
import io
import json
import os
import pickle
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kanbench.network.evaluation import Activations
from kanbench.network.initialization import initialize
from kanbench.network.refinement import refine
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.config import ROOT, merge
from kanbench.plan.naming import Run
from kanbench.plan.settings import canonical_json, control_settings, expert_settings, merge_settings, training_settings
from kanbench.training import resume
from kanbench.training.experts import train_expert
from kanbench.training.merge_kan import train_control, train_merged
from kanbench.training.resume import ResumeState
from kanbench.training.trainer import TrainerState, make_data
from support.trainings import trainer_of

SMALL = {
    "data": {"train_num": 80, "test_num": 60, "dense_num": 100},
    "grids": {"sizes": [3, 6, 8]},
    "timing": {"repeats": 1},
    "model": {"width": [2, 3, 1]},
    "experts": {"hidden_width": 2, "epochs": 40, "evaluate_every": 4, "stagnation": {"epochs": 16, "tolerance": 0.9}},
    "merge_kan": {"n_selected": 2, "valid_num": 50, "grids": [5, 7], "epochs": 3},
}
EPOCHS = 4


class Killed(BaseException):
    """Stands for the end of the process."""


class Mortal(ResumeState):
    """Saves a state after every epoch, as if it were always time to, and ends the process after so many."""

    def __init__(self, folder, name="training", lives=None):
        super().__init__(folder, name)
        self.lives = [1] if lives is None else lives

    def part(self, name):
        return Mortal(self.folder, name, self.lives)

    def due(self, stage_ends):
        return True

    def save(self, key, state):
        super().save(key, state)
        self.lives[0] -= 1
        if not self.lives[0]:
            raise Killed


def content(training):
    """All of a training but its times, with networks as digests."""
    checkpoints = [getattr(training, name) for name in ("untrained", "at_threshold", "final")]
    rows = [*training.history, *(checkpoint.row for checkpoint in checkpoints)]
    return (
        [{key: value for key, value in row.items() if key != "time"} for row in rows],
        [checkpoint.network.digest() for checkpoint in checkpoints],
        training.stages,
        training.device,
        training.engine,
        training.stopped,
    )


def with_crashes(train, folder, every=1):
    """What `train(resume)` returns after as many crashes as it takes, one after every so many saved states."""
    for crashes in range(100):
        try:
            return train(Mortal(folder, lives=[every])), crashes
        except Killed:
            pass
    raise AssertionError("it never ended")


def settings_of(config, model_type="lm", problem="poisson_2d_sin", **over):
    section = "section2_1" if model_type in ("adam", "lbfgs", "lm") else "section2_2"
    changed = merge(merge(config, SMALL), over)
    return training_settings(changed, section, model_type, config["datasets"].index(problem))


TRAININGS = {
    "adam": ("adam", {}),
    "lbfgs": ("lbfgs", {}),
    "lm": ("lm", {}),
    "float32": ("lm", {"dtype": "float32"}),
    "few pairs": ("lbfgs", {"optimizers": {"lbfgs": {"history_size": 3}}}),
    "torch": ("lbfgs", {"engine": "torch"}),
    "reference": ("adam", {"engine": "reference"}),
    "adaptive_only": ("adaptive_only", {}),
    "adaptive_regular": ("adaptive_regular", {}),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ("torch", "reference") else []) for name in TRAININGS],
)
def test_a_training_that_crashes_after_every_epoch_ends_with_the_same_result(config, tmp_path, name):
    model_type, over = TRAININGS[name]
    settings = settings_of(config, model_type, **over)
    undisturbed = trainer_of(settings).train(EPOCHS)
    resumed, crashes = with_crashes(lambda place: trainer_of(settings).train(EPOCHS, resume=place), tmp_path)
    assert crashes == 3 * EPOCHS
    assert content(resumed) == content(undisturbed)


def test_time_goes_on_counting(config, tmp_path):
    settings = settings_of(config)
    resumed, _ = with_crashes(lambda place: trainer_of(settings).train(EPOCHS, resume=place), tmp_path, every=5)
    times = [row["time"] for row in resumed.history]
    assert times == sorted(times)
    assert times[0] > 0


def test_only_new_rows_are_reported(config, tmp_path):
    settings, epochs = settings_of(config), []
    train = lambda place: trainer_of(settings).train(EPOCHS, lambda row: epochs.append(row["epoch"]), place)  # noqa: E731
    with_crashes(train, tmp_path, every=5)
    assert epochs == list(range(1, 3 * EPOCHS + 1))


@pytest.mark.slow
def test_an_expert_that_crashes(config, tmp_path):
    settings = expert_settings(merge(config, SMALL), 0, 2, 3, 1)
    data = make_data(settings)
    training, expert = train_expert(settings, data)
    assert training.stopped is not None  # by a rule that has a memory
    assert len(training.history) > 3
    (resumed, again), crashes = with_crashes(
        lambda place: train_expert(settings, make_data(settings), resume=place), tmp_path
    )
    assert crashes > len(training.history)
    assert content(resumed) == content(training)
    assert {**again, "train_time": 0} == {**expert, "train_time": 0}


@pytest.mark.slow
@pytest.mark.parametrize("via", [[], [2]])
def test_a_merged_model_and_its_control_that_crash(config, tmp_path, via):
    small = merge(merge(config, SMALL), {"merge_kan": {"intermediate_models": via}})
    kinds = [expert_settings(small, 1, 1, k, 1) for k in (2, 3)]
    experts = [train_expert(kind, make_data(kind)) for kind in kinds]
    told = [expert for _, expert in experts]
    load = lambda i: experts[i][0].final.network  # noqa: E731
    settings, data = merge_settings(small, 1), make_data(merge_settings(small, 1))
    training, merging = train_merged(settings, told, load, data)
    train = lambda place: train_merged(settings, told, load, data, resume=place)  # noqa: E731
    (resumed, again), crashes = with_crashes(train, tmp_path / "merged")
    assert crashes == 2 * 3 + 2 * 3 * len(via)  # epochs of the merged model, and of the two that come before it
    assert content(resumed) == content(training)
    for part in (*merging["via"], *again["via"]):
        part["time"] = 0
    assert again == merging

    settings, outcome = control_settings(small, 1), {**training.final.row, **merging}
    for expert in told:  # without the experts' evaluations the control is shorter
        expert["n_evals"] = 0
    alone = train_control(settings, outcome, told, data)
    resumed, crashes = with_crashes(lambda place: train_control(settings, outcome, told, data, resume=place), tmp_path)
    assert crashes == len(alone.history)
    assert content(resumed) == content(alone)


def test_pykans_grids_go_on_too(config, tmp_path):
    """Not to the last digit: pykan's fits differ from call to call."""
    settings = settings_of(config, "adam", grids={"policy": "pykan", "update_every": 2})
    undisturbed = trainer_of(settings).train(EPOCHS)
    resumed, _ = with_crashes(lambda place: trainer_of(settings).train(EPOCHS, resume=place), tmp_path)
    for ours, theirs in zip(resumed.history, undisturbed.history, strict=True):
        assert ours["test_loss"] == pytest.approx(theirs["test_loss"], rel=1e-10)  # 1e-15 was measured


# --- which states are used ---


def interrupted(settings, folder, epochs=EPOCHS):
    """The place of a training that was interrupted after its fifth epoch."""
    with pytest.raises(Killed):
        trainer_of(settings).train(epochs, resume=Mortal(folder, lives=[5]))
    return ResumeState(folder)


def epochs_of(settings, place, epochs=EPOCHS):
    """The epochs that a training at this place runs."""
    reported = []
    trainer_of(settings).train(epochs, lambda row: reported.append(row["epoch"]), place)
    return reported


def test_without_a_place_nothing_is_saved(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer_of(settings_of(config)).train(1)
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_saved_at_the_end_of_stages_and_when_it_is_time(config, tmp_path, monkeypatch):
    def saved():
        epochs = []

        class Noting(ResumeState):
            def save(self, key, state):
                epochs.append(state.epoch)
                super().save(key, state)

        trainer_of(settings_of(config)).train(EPOCHS, resume=Noting(tmp_path))
        (tmp_path / "training.state").unlink(missing_ok=True)
        return epochs

    monkeypatch.setattr(resume, "EVERY", 1000.0)
    monkeypatch.setattr(resume, "EVERY_STAGE", 1000.0)
    assert saved() == []
    monkeypatch.setattr(resume, "EVERY_STAGE", 0.0)
    assert saved() == [4, 8, 12]
    monkeypatch.setattr(resume, "EVERY", 0.0)
    assert saved() == list(range(1, 13))


def test_a_finished_training_is_not_repeated(config, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "EVERY_STAGE", 0.0)
    settings = settings_of(config)
    first = trainer_of(settings).train(EPOCHS, resume=ResumeState(tmp_path))
    reported = []
    again = trainer_of(settings).train(EPOCHS, reported.append, ResumeState(tmp_path))
    assert reported == []
    assert content(again) == content(first)
    assert again.history == first.history  # times too


def other_version(monkeypatch, of):
    monkeypatch.setattr("kanbench.training.trainer.version", lambda package: "9" if package == of else version(package))


OTHERS = {
    "settings": {"optimizers": {"lm": {"attempts": 7}}},
    "network, settings": {"seeds": [2]},
    "engine, settings": {"engine": "reference"},
    "code": lambda monkeypatch: monkeypatch.setattr("kanbench.training.trainer.code_digest", lambda: "other"),
    **{name: lambda monkeypatch, name=name: other_version(monkeypatch, name) for name in ("numba", "numpy", "torch")},
}


@pytest.mark.parametrize("differs", OTHERS)
def test_another_training_starts_again(config, tmp_path, monkeypatch, caplog, differs):
    place, over = interrupted(settings_of(config), tmp_path), OTHERS[differs]
    if callable(over):
        over(monkeypatch)
        over = {}
    assert epochs_of(settings_of(config, **over), place) == list(range(1, 13))
    assert (
        f"training.state: differs from this training in {differs}; the training starts from the beginning"
        in caplog.text
    )


def test_other_epochs_start_again(config, tmp_path, caplog):
    settings = settings_of(config)
    assert epochs_of(settings, interrupted(settings, tmp_path), epochs=2) == list(range(1, 7))
    assert "differs from this training in epochs" in caplog.text


def test_keys_of_other_versions_are_named_too(tmp_path, caplog):
    place = ResumeState(tmp_path)
    place.save({"settings": "{}", "old": "1"}, {})
    assert place.load({"settings": "{}", "new": "1"}, dict) is None
    assert "differs from this training in new, old; the training starts from the beginning" in caplog.text


class Canary:
    def __reduce__(self):
        return pytest.fail, ("it was run",)


def foreign(content):
    """What this module would write, of something else."""
    return resume.hashlib.sha256(content).digest() + content


def archive(text, **arrays):
    """An archive of numpy's as a state is, with this text."""
    buffer = io.BytesIO()
    np.savez(buffer, text=np.frombuffer(text.encode(), np.uint8), **arrays)
    return foreign(buffer.getvalue())


DAMAGED = {
    "empty": (lambda b: b"", "damaged"),
    "truncated": (lambda b: b[: len(b) // 2], "damaged"),
    "one bit": (lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:], "damaged"),
    "text": (lambda b: b"state", "damaged"),
    "no archive": (lambda b: foreign(b"state"), "refused"),
    "no JSON": (lambda b: archive("state"), "refused"),
    "a list": (lambda b: archive("[1]"), "refused"),
    "no key": (lambda b: archive('{"state": 1}'), "refused"),
    "an array that is not there": (lambda b: archive('{"key": {"array": "0"}}'), "refused"),
    "a call": (lambda b: archive('{"key": {"array": "a"}}', a=np.array([Canary()])), "refused"),
    "a call alone": (lambda b: foreign(pickle.dumps(Canary())), "refused"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_one_line_and_the_training_starts_again(config, tmp_path, caplog, damage):
    settings = settings_of(config)
    place = interrupted(settings, tmp_path)
    spoil, said = DAMAGED[damage]
    place.path.write_bytes(spoil(place.path.read_bytes()))
    caplog.clear()
    assert epochs_of(settings, place) == list(range(1, 13))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{place.path}: {said}")
    assert "\n" not in line


def test_a_state_that_cannot_be_written_costs_one_line(config, tmp_path, monkeypatch, caplog):
    def full_disk(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(resume, "EVERY", 0.0)
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert epochs_of(settings_of(config), ResumeState(tmp_path)) == list(range(1, 13))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "training.state: cannot be written (No space left on device); after a crash, this training starts" in line


# --- how a state is stored ---


def test_a_state_comes_back_as_it_was(tmp_path):
    """To the last bit: numbers, text, lists, dicts and arrays, those of no number and those that are not contiguous."""
    arrays = {
        "float64": np.array([0.1, -0.0, np.nan, np.inf, 5e-324]),
        "float32": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)[:, ::2],
        "none": np.empty((0, 3)),
        "number": np.array(2.5),
        "mask": np.array([True, False]),
    }
    state = {
        "arrays": arrays,
        "list": [arrays["float64"], {"deep": arrays["float32"]}, None, True, 3, 0.1, "text μ"],
        "infinite": [float("inf"), 5e-324, 1.7976931348623157e308],
    }
    place = ResumeState(tmp_path / "new")
    place.save({"settings": "{}"}, state)
    found = ResumeState(tmp_path / "new").load({"settings": "{}"}, dict[str, Any])
    assert found.keys() == state.keys() and found["list"][2:] == state["list"][2:]
    assert found["infinite"] == state["infinite"]
    pairs = [(found["arrays"][name], array) for name, array in arrays.items()]
    pairs += [(found["list"][0], arrays["float64"]), (found["list"][1]["deep"], arrays["float32"])]
    for array, expected in pairs:
        assert array.dtype == expected.dtype and array.shape == expected.shape
        assert array.tobytes() == expected.tobytes()
    place.remove()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_network_survives_a_round_trip(tmp_path, dtype):
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    network = initialize([2, 3, 1], 4, dtype=dtype)
    network = refine(network, [[4, 7], [5, 4, 9]], Activations.of(network, x))
    network = dataclasses.replace(network, fixed=frozenset({"scale_sp"}), base="identity")
    ResumeState(tmp_path).save({}, {"network": network})
    again = ResumeState(tmp_path).load({}, dict[str, SplineNetwork])["network"]
    assert again.digest() == network.digest()
    assert (again.base, again.fixed, again.dtype) == (network.base, network.fixed, network.dtype)
    assert not again.layers[0].knots[0].flags.writeable


@pytest.mark.parametrize("content", [{"epoch": 1}, {"epoch": "one", "network": {}}, []])
def test_a_state_of_another_form_is_not_used(tmp_path, caplog, content):
    ResumeState(tmp_path).save({}, content)
    assert ResumeState(tmp_path).load({}, TrainerState) is None
    assert "refused" in caplog.text


@pytest.mark.parametrize("value", [1j, {1, 2}, object(), b"bytes"], ids=lambda value: type(value).__name__)
def test_what_is_no_state_is_refused_by_its_type(tmp_path, value):
    with pytest.raises(TypeError, match=f"{type(value).__name__} in a state"):
        ResumeState(tmp_path).save({}, {"value": value})


@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm", "adaptive_only"])
def test_a_state_is_a_value(config, model_type):
    """What comes after does not change it."""
    trainer = trainer_of(settings_of(config, model_type))
    training = trainer.train(2)
    state = trainer._state(training)
    before = resume._packed(state)
    theta = trainer.theta
    for _ in range(3):
        theta = trainer.optimizer.step(trainer.engine, theta)
    trainer.threshold.update(0.0)
    trainer._refined(12)
    with trainer.clock:
        pass
    assert resume._packed(state) == before


# --- processes ---

RUN = Run("section2_3", "20260101_000000")
EXPERT = RUN.expert(0, 2, 3, 1)
LONG = {"experts": {"epochs": 100, "stagnation": {"epochs": 0}}, "data": {"train_num": 200, "test_num": 50}}
# A state at every evaluation; the process may be killed as soon as there are so many.
TRAIN = """if True:
    import os, signal, sys
    from kanbench.cli.main import main
    from kanbench.training import resume
    resume.EVERY = 0.0
    lives, save = int(sys.argv[1]), resume.ResumeState.save
    def save_and_die(self, key, state):
        global lives
        save(self, key, state)
        lives -= 1
        if lives == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    resume.ResumeState.save = save_and_die
    sys.exit(main(sys.argv[2:]))
"""


def start_training(folder, config, lives=-1):
    arguments = ["train", EXPERT, "--settings", canonical_json(expert_settings(merge(config, LONG), 0, 2, 3, 1))]
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(lives), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        stderr=subprocess.PIPE,
        text=True,
    )


def ended_well(process):
    """The log of a training."""
    _, log = process.communicate()
    assert process.returncode == 0, log
    return log


def handed_over(folder):
    """What the expert's training left in a folder, times aside: the record, and the checkpoint as bytes."""
    content = json.loads((folder / RUN.record(EXPERT)).read_text())
    for row in (content["expert"], *content["checkpoints"].values(), *content["history"]):
        row.pop("time", row.pop("train_time", None))
    base = folder / RUN.expert_checkpoint(EXPERT)
    return content, [base.with_name(f"{base.name}_{file}").read_bytes() for file in ("config.yml", "state")]


@pytest.mark.slow
def test_a_killed_process_costs_little(config, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir(), killed.mkdir()
    ended_well(start_training(undisturbed, config))
    process = start_training(killed, config, lives=3)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (killed / RUN.resume_folder(EXPERT) / "training.state").exists()
    assert not (killed / RUN.record(EXPERT)).exists()
    assert "resuming after epoch" in ended_well(start_training(killed, config))
    assert handed_over(killed) == handed_over(undisturbed)
    assert list((killed / "results" / "unfinished").iterdir()) == []


@pytest.mark.slow
def test_two_processes_at_once_leave_whole_files(config, tmp_path):
    both = [start_training(tmp_path, config) for _ in range(2)]
    for process in both:
        ended_well(process)
    alone = tmp_path / "alone"
    alone.mkdir()
    ended_well(start_training(alone, config))
    assert handed_over(tmp_path) == handed_over(alone)
    assert {path.name for path in (tmp_path / "results" / "trainings").iterdir()} == {
        path.name for path in (alone / "results" / "trainings").iterdir()
    }
