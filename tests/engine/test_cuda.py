"""Trainings on CUDA from end to end: on a real GPU where there is one, and on a pretended one anywhere."""

import contextlib
import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kan import KAN

from kanbench.benchmark import run
from kanbench.benchmark.cases import Case
from kanbench.benchmark.contenders import Kanbench, Pykan
from kanbench.benchmark.memory import MIB, TooLarge, run_apart
from kanbench.benchmark.report import NAMES, as_text
from kanbench.benchmark.run import Benchmark
from kanbench.cli.main import main
from kanbench.engine import make_engine
from kanbench.network.pykan import global_random_state_kept
from kanbench.network.typed_kan import default_dtype
from kanbench.plan.config import load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.plan.settings import training_settings
from kanbench.storage.verification import verify
from kanbench.training.resume import ResumeState
from kanbench.training.trainer import TrainerState
from support.models_at_random import assert_near, random_model, results, sample
from support.pretended_cuda import pretended_cuda
from support.results import STAMP, TINY, opened
from support.trainings import trainer_of

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
ON_CUDA = {
    "device": "cuda",
    "data": {"train_num": 60, "test_num": 50, "dense_num": 200},
    "grids": {"sizes": [3, 5]},
    "optimizers": {"lbfgs": {"max_iter": 3, "max_eval": 6}},
    "timing": {"repeats": 1},
}


@pytest.fixture(params=["pretended", pytest.param("real", marks=NO_CUDA)])
def cuda(request):
    """A context in which torch has a CUDA device."""
    return pretended_cuda if request.param == "pretended" else contextlib.nullcontext


def trainer(section, model_type, **over):
    return trainer_of(training_settings(merge(load_config(), merge(ON_CUDA, over)), section, model_type, 0))


# --- the pretended device ---


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with pretended_cuda():
        a = torch.ones(3, device="cuda")
        assert a.device.type == "cuda" and a.is_cuda and (a + 1).is_cuda and a.new_zeros(2).is_cuda
        assert not a.cpu().is_cuda and torch.ones(3).to("cuda").is_cuda and torch.ones(3).to(a).is_cuda
        assert torch.equal((a + torch.tensor(1.0)).cpu(), torch.full((3,), 2.0))
        assert (a[torch.tensor([0, 2])] == 1).all().item() is True
        for mixed in (
            lambda: a + torch.ones(3),
            lambda: torch.dot(torch.ones(3), a),
            lambda: torch.cat([a, torch.ones(3)]),
            lambda: a.index_select(0, torch.tensor([1])),
            lambda: a.add_(torch.ones(3)),
            a.numpy,
        ):
            with pytest.raises(RuntimeError):
                mixed()


# --- engines and trainings ---


@pytest.mark.parametrize("name", ["torch", pytest.param("reference", marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [30, 300], ids=["dual", "primal"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_engines_are_those_of_the_cpu(cuda, name, n, outputs):
    """What goes in and comes out is numpy's; what is linearized stays on the device."""
    network = random_model([3, 2], 3, 6, seed=5, ends=(2, outputs))
    x, y = sample(network, n, seed=1)
    theta = network.parameters()

    def evaluations(device):
        engine = make_engine(name, network, x, y, device=device)
        linearization = engine.linearize(theta)
        r = linearization.residuals
        gram = linearization.dual_gram() if y.size < len(theta) else linearization.normal_matrix()
        solve = linearization.cholesky(gram, 0.1)
        offset = linearization.vjp(solve(r)) if y.size < len(theta) else solve(linearization.vjp(r))
        vectors = offset, linearization.jvp(offset), linearization.residuals_at(offset)
        assert {vector.device.type for vector in (r, gram, *vectors)} == {device}
        assert engine.linearize(theta).cholesky(gram * 0, -1.0) is None
        return [*results(engine, theta, x), linearization.moved(offset), *(vector.cpu().numpy() for vector in vectors)]

    expected = evaluations("cpu")
    with cuda():
        found = evaluations("cuda")
    for value, other in zip(found, expected, strict=True):
        assert isinstance(value, np.ndarray)
        assert_near(value, other, 1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("section", "model_type"),
    [
        ("section2_1", "adam"),
        ("section2_1", "lbfgs"),
        ("section2_1", "lm"),
        ("section2_2", "adaptive_only"),
        ("section2_2", "adaptive_regular"),
    ],
)
def test_trainings_are_those_of_the_cpu(cuda, section, model_type, dtype):
    """As far as rounding lets them: the first epochs, with the same engine."""
    on_cpu = trainer(section, model_type, device="cpu", engine="torch", dtype=dtype).train(1)
    with cuda():
        there = trainer(section, model_type, dtype=dtype)
        training = there.train(1)
        assert training.device == "cuda"
        assert training.engine == "torch"
        assert there.engine.engine.targets.is_cuda
    tolerance = {"float64": 1e-8, "float32": 1e-3}[dtype]
    for row, expected in zip(training.history, on_cpu.history, strict=True):
        assert row["num_params"] == expected["num_params"]
        assert row["grid_size"] == expected["grid_size"]
        for loss in ("train_loss", "test_loss", "dense_mse"):
            assert row[loss] == pytest.approx(expected[loss], rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("over", [{"engine": "reference"}, {"grids": {"policy": "pykan"}}], ids=str)
@pytest.mark.parametrize("model_type", ["lbfgs", "lm"])
def test_other_engines_and_policies(cuda, model_type, over):
    with cuda():
        training = trainer("section2_1", model_type, **over).train(1)
    assert training.stopped is None
    assert training.final.row["train_loss"] < training.untrained.row["train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("train_num", [60, 400], ids=["dual", "primal"])
def test_both_systems_of_lm(cuda, train_num):
    data = {"train_num": train_num}
    with cuda():
        training = trainer("section2_1", "lm", data=data).train(2)
    on_cpu = trainer("section2_1", "lm", data=data, device="cpu", engine="torch").train(2)
    assert training.history[0]["num_params"] == 120  # between the two
    assert training.final.row["train_loss"] == pytest.approx(on_cpu.final.row["train_loss"], rel=1e-4)


def test_the_clock_waits_for_the_device():
    with pretended_cuda() as synchronize:
        begun = trainer("section2_1", "adam")
        assert synchronize.call_count == 0
        begun.train(3)
    assert synchronize.call_count == 2 * 3 * 2  # before and after each of 3 epochs on 2 grids
    trainer("section2_1", "adam", device="cpu").train(1)
    assert synchronize.call_count == 12


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm"])
def test_an_interrupted_training_goes_on(cuda, model_type, tmp_path, monkeypatch):
    place = ResumeState(tmp_path)
    monkeypatch.setattr(place, "due", lambda stage_ends: True)
    with cuda():
        whole = trainer("section2_1", model_type).train(2)

        def stop(row):
            if row["epoch"] == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trainer("section2_1", model_type).train(2, stop, place)
        reported = []
        again = trainer("section2_1", model_type).train(2, reported.append, place)
        assert [row["epoch"] for row in reported] == [3, 4]
        for row, expected in zip(again.history, whole.history, strict=True):
            assert {**row, "time": 0} == {**expected, "time": 0}
        assert again.final.network.digest() == whole.final.network.digest()


def test_the_state_of_another_device_is_not_used(tmp_path, caplog):
    place = ResumeState(tmp_path)
    with pretended_cuda():
        begun = trainer("section2_1", "lbfgs")
        begun.train(1)
        place.save(begun._key(2), begun._state(begun._begin()))
    there = trainer("section2_1", "lbfgs", device="cpu", engine="torch")
    assert place.load(there._key(2), TrainerState) is None
    assert "differs from this training in device, " in caplog.text


# --- whole runs, by the commands of the rules, and their checkpoints on a machine without CUDA ---


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_runs_are_read_without_cuda(cuda, section, tmp_path):
    results, config = tmp_path / "results", tmp_path / "config.yaml"
    over = {**TINY, "device": "cuda", "datasets": ["poisson_2d_poly"], "optimizers": ON_CUDA["optimizers"]}
    config.write_text(yaml.safe_dump(over))

    def command(*arguments):
        assert main([str(argument) for argument in arguments]) == 0

    def train(subcommand, training, *arguments):
        command(subcommand, training, *arguments, "--config", config, "--results-dir", results)

    made = Run(section, STAMP, None if section == "section2_3" else 2, str(results))
    with cuda():
        if section == "section2_3":
            experts = [made.expert(0, depth, 3, seed) for depth in (1, 2) for seed in (1, 2)]
            for expert in experts:
                train("train", expert)
            paths = [made.record(expert) for expert in experts]
            merged = made.training("merge_kan", 0)
            train("merge", merged, "--experts", *paths)
            train("control", made.training("control", 0), "--merged", made.record(merged), "--experts", *paths)
        else:
            for model_type in made.kind.model_types:
                train("train", made.training(model_type, 0))
    trained = [made.record(made.training(m, 0)) for m in made.kind.model_types]
    command("metadata", made.checkpoint_metadata(), "--trainings", *trained)
    metadata = pickle.loads(Path(made.checkpoint_metadata()).read_bytes())
    for model_type in made.kind.model_types:
        for name, row in metadata[model_type][0].items():
            base = made.checkpoint(model_type, 0, name)
            state = torch.load(f"{base}_state", weights_only=True)
            assert {value.device.type for value in state.values()} == {"cpu"}
            assert yaml.safe_load(Path(f"{base}_config.yml").read_text())["device"] == "cpu"
            x = torch.load(f"{base}_cache_data", weights_only=True)
            with global_random_state_kept(), default_dtype(torch.float64):
                model = KAN.loadckpt(base)
            y = 2 * x[:, [1]] * (1 - x[:, [1]]) + 2 * x[:, [0]] * (1 - x[:, [0]])
            assert (model(x) - y).square().mean().item() == pytest.approx(row["train_loss"], rel=1e-9)
    if section == "section2_3":
        return
    reference = [made.record(made.training(made.kind.reference, 0))]
    for model_type, record in zip(made.kind.model_types, trained, strict=True):
        frames = [made.frame(model_type, suffix) for suffix in ("pkl", "parquet")]
        command("frame", *frames, "--trainings", record, "--reference", *reference)
        assert pd.read_pickle(frames[0]).attrs["device"] == "cuda"
    assert verify(opened(made)).faults == []


def test_random_states_of_gpus_are_kept_only_where_they_are_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    with mock.patch("torch.random.fork_rng") as fork, global_random_state_kept():
        assert list(fork.call_args.args[0]) == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with mock.patch("torch.random.fork_rng") as fork, global_random_state_kept():
        assert list(fork.call_args.args[0]) == [0, 1, 2]


# --- the benchmark ---


@pytest.mark.parametrize("operation", NAMES)
def test_both_sides_of_the_benchmark_run_there(cuda, operation, config, monkeypatch):
    monkeypatch.setattr(run, "resolve_device", lambda device: device)
    if operation == "lm_step":
        pytest.importorskip("torch_levenberg_marquardt")
    ours = {"engine": "torch", "lm": config["optimizers"]["lm"]}
    with cuda() as pretended:
        benchmark = Benchmark(merge(config, {"device": "cuda"}), 0.01, 4096)
        case = Case((2, 2, 1), 3, n=40)
        sides = {"ours": Kanbench(case, **ours, device="cuda"), "pykan": Pykan(case, "cuda")}
        assert sides["ours"].engine.engine.targets.is_cuda and sides["pykan"].new_inputs.is_cuda
        if pretended and operation == "lm_step":
            del sides["pykan"]  # autograd's own zeros, which torch-levenberg-marquardt meets, are not pretended
        result = benchmark._compare(operation, case, sides)
    assert all(result[side]["median"] > 0 for side in sides)
    if pretended:
        assert pretended.call_count >= 2 * len(sides)  # before and after


@NO_CUDA
def test_peak_memory_is_that_of_the_gpu(config):
    ours = {"engine": "torch", "lm": config["optimizers"]["lm"]}
    case = Case((2, 5, 1), 20, n=20_000)
    found = run_apart("pykan", "loss_and_gradient", case, 4096, ours, "cuda")
    # pykan keeps every basis function of every order for its backward: (7 inputs) x (26 + 25 + 24 + 23) numbers.
    assert 20_000 * 7 * 98 * 8 / MIB < found["peak"] < 4096
    assert found["imports"] == 0
    with pytest.raises(TooLarge):
        run_apart("pykan", "loss_and_gradient", case, 64, ours, "cuda")


@pytest.mark.parametrize(
    ("build", "why"), [("13.0", "torch sees no CUDA device"), (None, "this build of torch has no CUDA")]
)
def test_the_benchmark_without_cuda_is_one_line(build, why, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", build)
    assert main(["benchmark", "--device", "cuda"]) == 1
    assert why in capsys.readouterr().err
    assert main(["benchmark", "--device", "cuda", "--parts", "pairs", "trainings"]) == 1
    error = capsys.readouterr().err
    assert "--parts" in error and "trainings" in error and error.count("\n") == 1


def test_the_benchmarks_report_names_the_gpu(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Something")
    monkeypatch.setattr(run, "resolve_device", lambda device: device)
    comparison = {
        "operation": "loss_and_gradient",
        "width": [2, 5, 1],
        "grid": 3,
        "k": 3,
        "n": 1000,
        "dtype": "float64",
    }
    times = {key: {"median": 2.0, "q1": 1.0, "q3": 3.0, "min": 1.0} for key in ("ours", "pykan", "ratio")}
    measured = {**comparison, "pairs": 3, **times}
    peaks = {side: {"peak": 64.0, "imports": 0.0, "seconds": 1.0} for side in ("ours", "pykan")}
    growth = {"cells": [{**measured, "memory": peaks}], "exponents": {}}
    monkeypatch.setattr(Benchmark, "pairs", lambda self: [measured])
    monkeypatch.setattr(Benchmark, "growth", lambda self: growth)
    result = run.run(merge(config, {"device": "cuda"}), 1, 4096, parts=("pairs", "growth"))
    assert result["peaks"] is None
    assert result["settings"]["engine"] == "torch"
    text = as_text(result)
    assert "engine `torch`; NVIDIA Something; python" in text
    assert "one core" not in text
    assert "peaks are of tensors on the GPU" in text
