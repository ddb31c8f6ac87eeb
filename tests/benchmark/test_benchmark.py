"""The benchmark: both sides compute the same, and what is counted is what is said."""

import json
import os
import re
import sys
from collections import defaultdict
from threading import Thread

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench.benchmark import cases, contenders, fits, hardware, memory, run, timing, trainings
from kanbench.benchmark.cases import Case
from kanbench.benchmark.contenders import Kanbench, LMSteps, Pykan
from kanbench.benchmark.report import as_text
from kanbench.benchmark.roofline import EXP, flops, roofline, traffic
from kanbench.cli import benchmark as command
from kanbench.cli.main import main
from kanbench.network.evaluation import evaluate
from kanbench.plan.config import check, merge
from kanbench.problems import PROBLEMS
from kanbench.problems.samples import make_dataset

# Of the numbers compared, by dtype: rounding of sums over 1000 samples.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


@pytest.fixture(scope="module")
def ours(config):
    return {"engine": "compiled", "lm": config["optimizers"]["lm"]}


@pytest.fixture
def small(config):
    """A configuration of trainings that take a moment."""
    over = {"device": "cpu", "datasets": ["poisson_2d_poly"], "epochs": 2, "grids": {"sizes": [3, 5]}}
    return check(merge(config, over | {"data": {"train_num": 100, "test_num": 100, "dense_num": 1}}))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("width", "grid"), cases.SHAPES, ids=str)
def test_both_sides_compute_the_same(width, grid, dtype, ours):
    case = Case(width, grid, dtype=dtype)
    kanbench, pykan = Kanbench(case, **ours), Pykan(case)
    loss, gradient = kanbench.loss_and_gradient()
    reference_loss = pykan.loss_and_gradient().item()
    gradients = [p.grad for name, p in pykan.model.named_parameters() if name.startswith("act_fun") and p.requires_grad]
    reference = torch.cat([gradient.flatten() for gradient in gradients]).numpy()
    assert loss == pytest.approx(reference_loss, rel=TOLERANCE[dtype])
    assert gradient.dtype == dtype
    assert np.linalg.norm(gradient - reference) < TOLERANCE[dtype] * np.linalg.norm(reference)
    prediction, reference = kanbench.predict(), pykan.predict().numpy()
    assert prediction.shape == (1000, 1)
    assert prediction.dtype == reference.dtype == dtype
    assert np.linalg.norm(prediction - reference) < TOLERANCE[dtype] * np.linalg.norm(reference)


def test_predictions_are_of_new_inputs(ours):
    case = Case((2, 5, 1), 3, n=50)
    for side in (Kanbench(case, **ours), Pykan(case)):
        assert not np.isin(np.asarray(side.new_inputs), case.sample()[0]).any()


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_samples_are_torchs(dtype):
    """Uniform numbers of single precision, as the benchmark has always drawn them."""
    x, y = Case((3, 1), 3, n=100, dtype=dtype).sample(5)
    drawn = torch.rand(100, 3, generator=torch.Generator().manual_seed(5)) * 2 - 1
    assert np.array_equal(x, drawn.numpy().astype(dtype))
    assert x.dtype == y.dtype == dtype
    sines = np.sin(np.pi * x[:, :2].astype(float)).prod(axis=1, keepdims=True)
    assert np.abs(y - 2 * np.pi**2 * sines).max() < {"float64": 1e-13, "float32": 1e-5}[dtype]


@pytest.mark.parametrize("make", [Kanbench, Pykan], ids=["kanbench", "pykan"])
def test_lm_steps_lower_the_loss_and_begin_anew(make, ours):
    """The trajectory repeats itself, and a step is called accepted if the loss after it is lower."""
    if make is Pykan:
        pytest.importorskip("torch_levenberg_marquardt")
    case = Case((2, 5, 1), 3, n=200)
    side = make(case, **(ours if make is Kanbench else {}))
    x, y = case.sample()

    def loss():
        if make is Kanbench:
            return np.square(evaluate(case.network.with_parameters(side.theta), x) - y).mean()
        return (side.module.model(side.x) - side.y).square().mean().item()

    steps, losses = LMSteps(side), []
    for _ in range(2 * contenders.STEPS):
        assert steps() > 0
        losses.append(loss())
    initial = np.square(evaluate(case.network, x) - y).mean()
    before = [initial, *losses[: contenders.STEPS - 1]]
    assert steps.accepted[: contenders.STEPS] == [b > a for b, a in zip(before, losses, strict=False)]
    assert losses[contenders.STEPS - 1] < initial / 2
    assert losses[: contenders.STEPS] == pytest.approx(losses[contenders.STEPS :], rel=1e-6)


def test_pairs_are_measured_in_turns_until_the_time_is_over(monkeypatch):
    now, calls = [0.0], []

    def measure(name, seconds):
        def call():
            calls.append(name)
            now[0] += seconds
            return seconds

        return call

    monkeypatch.setattr(timing, "now", lambda device="cpu": now[0])
    assert timing.in_turns([measure("a", 1.0), measure("b", 2.0)], 14) == [[1.0] * 5, [2.0] * 5]
    assert "".join(calls) == "ab" * 5
    assert len(timing.in_turns([measure("a", 1.0)], 0.5)[0]) == 2, "three would take more than four times as long"
    assert len(timing.in_turns([measure("a", 1.0)], 1.0)[0]) == timing.FEWEST_PAIRS
    assert len(timing.in_turns([measure("a", 1.0)], 0.1)[0]) == 1


def test_short_calls_are_repeated(monkeypatch):
    now = [0.0]

    def call():
        now[0] += 1e-3

    monkeypatch.setattr(timing, "now", lambda device="cpu": now[0])
    measure = timing.repeated(call)
    before = now[0]
    assert measure() == pytest.approx(1e-3)
    assert now[0] - before == pytest.approx(timing.LONG_ENOUGH, abs=1e-3)


def test_statistics():
    assert timing.spread([4, 1, 2, 3, 100]) == {"median": 3, "q1": 2, "q3": 4, "min": 1}
    n = np.array([1e3, 1e4, 1e5])
    assert timing.exponent(n, 3 * n**1.25) == pytest.approx(1.25, rel=1e-12)
    steps = run._per_accepted([[1.0, 3.0], [4.0, 4.0]], [[True, False], [True, True]])
    assert steps == {"ours": 4.0, "pykan": 4.0, "ratio": 1.0}
    assert run._per_accepted([[1.0], [1.0]], [[True], [False]]) == {"ours": 1.0, "pykan": None, "ratio": None}


def test_operations_and_bytes_of_a_tiny_network():
    """Counted by hand: width [1, 2, 1], G = 1, k = 1, 3 samples; layers of 2 edges each."""
    first = 2 * (4 + 2) + 2 * (4 + 2)  # edges forward: 2 bases and the base function; and backward
    bases = 2 * (2 + 2 * 2 + 0 + (EXP + 3) + 4)  # 2 inputs: coordinate, 2 linear functions, slopes known, base
    second = first + 2 * (4 + 4)
    scales = 4 * (4 * 2 + 2)  # 4 edges of 2 coefficients
    assert flops([1, 2, 1], 1, 1, 3) == 3 * (first + bases + second + 4) + scales
    parameters = 4 * (2 + 2)
    assert traffic([1, 2, 1], 1, 1, 3, itemsize=4) == 4 * (3 * (2 + 1 + 1 + 1) + 2 * parameters)


def test_the_roofline():
    arithmetic = roofline(1000, 10, seconds=10, peak_flops=200, bandwidth=4)
    assert arithmetic["bound"] == "arithmetic"  # memory would allow 1000 / 10 * 4 = 400
    assert (arithmetic["share_of_peak_flops"], arithmetic["share_of_limit"]) == (0.5, 0.5)
    assert arithmetic["share_of_bandwidth"] == 0.25
    memory_bound = roofline(1000, 20, seconds=10, peak_flops=500, bandwidth=4)
    assert memory_bound["bound"] == "memory"
    assert memory_bound["share_of_limit"] == 0.5


def test_peaks_are_counted_over_the_shortest_time(monkeypatch):
    """2 n³ operations of a product of matrices, in numpy or torch; three arrays of a triad."""
    monkeypatch.setattr(hardware, "TRIAD", 1000)
    monkeypatch.setattr(hardware, "MATRIX", 30)
    repetitions, calls = hardware.REPETITIONS, []

    def seconds_of(call):
        calls.append(call())
        return 0.5 if len(calls) % repetitions == 3 else 2.0

    monkeypatch.setattr(hardware, "seconds_of", seconds_of)
    threads = torch.get_num_threads()
    with hardware.one_thread():
        assert torch.get_num_threads() == 1
        peaks = hardware.measure_peaks()
    assert torch.get_num_threads() == threads
    assert peaks == {"float64": 2 * 30**3 / 0.5, "float32": 2 * 30**3 / 0.5, "bandwidth": 3 * 8000 / 0.5}
    assert [str(result.dtype).removeprefix("torch.") for result in calls[::repetitions]] == [
        *["float64"] * 2,
        *["float32"] * 2,
        "float64",
    ]


@pytest.mark.slow
def test_peak_memory_is_that_of_the_case(ours):
    """A process that has used more before does not matter; and a limit is kept."""
    block = torch.ones(400 * memory.MIB // 8, dtype=torch.float64)
    small, large = (
        memory.run_apart("pykan", "loss_and_gradient", Case((2, 5, 1), 20, n=n), 4096, ours) for n in (100, 20_000)
    )
    del block
    assert 0 < small["imports"] <= small["peak"] < small["imports"] + 100
    # pykan keeps every basis function of every order for its backward: (7 inputs) x (26 + 25 + 24 + 23) numbers.
    assert large["peak"] - small["peak"] > 20_000 * 7 * 98 * 8 / memory.MIB
    with pytest.raises(memory.TooLarge):
        memory.run_apart("pykan", "loss_and_gradient", Case((2, 5, 1), 100, n=100_000), 1024, ours)


@pytest.mark.parametrize(
    ("seconds_per_sample", "fails_at", "ran", "reason"),
    [
        (0, None, [10, 100, 1000], ()),
        (0.1, None, [10, 100], ("1,000 samples", "100 s")),
        (0, 100, [10], ("100 samples", "1024 MiB")),
    ],
)
def test_sizes_are_left_out_with_a_reason(seconds_per_sample, fails_at, ran, reason, monkeypatch, config):
    def run_apart(side, operation, case, *_):
        if case.n == fails_at:
            raise memory.TooLarge
        return {"peak": 1, "imports": 1, "seconds": seconds_per_sample * case.n}

    monkeypatch.setattr(run, "run_apart", run_apart)
    monkeypatch.setattr(run, "has_lm", lambda: True)
    benchmark = run.Benchmark(config, 0.1, 1024)
    growing = [Case((2, 5, 1), 100, n=n) for n in (10, 100, 1000)]
    assert [case.n for case in benchmark._apart("ours", "lm_step", growing)] == ran
    assert len(benchmark.notes) == bool(reason)
    assert all(part in benchmark.notes[0] for part in reason)


def test_evaluation_inside_fit_is_not_counted(monkeypatch):
    """pykan's `fit` is given watched test samples, and does what it does with others."""
    now = [0.0]
    monkeypatch.setattr(trainings, "perf_counter", lambda: now[0])
    data = trainings.original_samples(PROBLEMS["poisson_2d_poly"], train_num=100, test_num=100, seed=0)
    forward = KAN.forward

    def slow_forward(self, x, *args, **kwargs):
        now[0] += 1 if any(torch.equal(x[0], row) for row in data["test_input"]) else 100
        return forward(self, x, *args, **kwargs)

    monkeypatch.setattr(KAN, "forward", slow_forward)
    losses, clocks = [], [trainings.Clock(), trainings.Clock()]
    with trainings.pykan_undisturbed():
        for sample, clock in zip((data, dict(data)), clocks, strict=True):
            model = KAN(width=[2, 2, 1], grid=3, k=3, seed=1, auto_save=False)
            np.random.seed(0)
            if sample is data:
                losses.append(trainings._fit_stage(model, sample, "adam", 3, clock))
            else:
                results = model.fit(sample, opt="Adam", steps=3, lr=1.0)
                losses.append([float(root) ** 2 for root in results["test_loss"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # float32; pykan's first splines differ in the last digits
    assert now[0] % 100 == 6, "three evaluations of either model"
    assert clocks[0].seconds == pytest.approx((now[0] - 6) / 2)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lm"])
def test_both_procedures_train(optimizer, small, tmp_path, monkeypatch):
    """Through all grids, and without a trace in the working folder or the global random state."""
    if optimizer == "lm":
        pytest.importorskip("torch_levenberg_marquardt")
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    variance = make_dataset(PROBLEMS["poisson_2d_poly"], 100, 100, 1, seed=0).test_label.var()
    for train in (trainings.train_ours, trainings.train_original):
        outcome = train(small, optimizer, 0)
        assert outcome["epochs"] == 4
        assert outcome["seconds"] > 0
        # Adam's four steps at learning rate 1 get nowhere, and LM's begin short.
        most = {"adam": 10, "lbfgs": 0.5, "lm": 0.9}[optimizer]
        assert outcome["best_test_loss"] < most * variance
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_both_fits_train_the_same_model(monkeypatch):
    """On the tutorial's sample, and what is reported is what the trained models have."""
    monkeypatch.setattr(fits, "STEPS", 2)
    monkeypatch.setattr(fits, "TEST_NUM", 50)
    monkeypatch.setattr(fits, "SIZES", (200,))
    monkeypatch.setattr(fits, "QUICK_SIZES", (200,))
    state = torch.random.get_rng_state()
    lbfgs, lm = fits.compare(0.01, quick=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [(c["ours"]["opt"], c["ours"]["steps"], c["pykan"]["opt"]) for c in (lbfgs, lm)] == [
        ("LBFGS", 2, "LBFGS"),
        ("LM", 2, "LBFGS"),
    ]
    variance = fits.tutorial(200)["train_label"].var(unbiased=False).item()
    for comparison in (lbfgs, lm):
        assert comparison["n"] == 200
        for side in ("ours", "pykan"):
            assert 0 < comparison[side]["train_rmse"] < (1 if side == "pykan" else 2) * variance**0.5
    assert "LBFGS, 2 steps" in as_text(
        {"kanbench": "", "machine": defaultdict(str), "peaks": None, "settings": {"engine": ""}, "notes": []}
        | {"fit": [lbfgs, lm]}
    )


def test_a_missing_package_is_said_in_one_line(monkeypatch, config, ours):
    monkeypatch.setitem(sys.modules, "torch_levenberg_marquardt", None)  # then importing it fails
    assert not contenders.has_lm()
    monkeypatch.setattr(cases, "QUICK_SHAPES", [((2, 2, 1), 3)])
    monkeypatch.setattr(run, "measure_peaks", lambda: {"float64": 1e9, "float32": 1e9, "bandwidth": 1e9})
    result = run.run(config, 0.01, 1024, quick=True, parts=["pairs"])
    assert [note for note in result["notes"] if "torch-levenberg-marquardt" in note] == [run.MISSING_LM]
    assert "\n" not in run.MISSING_LM
    assert [comparison["operation"] for comparison in result["pairs"]] == ["loss_and_gradient", "predict"]
    assert run.MISSING_LM in as_text(result)
    assert "LM" not in as_text(result).replace(run.MISSING_LM, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "config: epochs: found 0"),
        (["--datasets", "poisson"], "config: datasets: found 'poisson'"),
        (["--input", "{folder}/none.json"], "none.json: cannot be read"),
        (["--input", "{folder}/text.json"], "text.json: cannot be read"),
        (["--input", "{folder}/other.json"], "other.json: missing: kanbench"),
        (["--output", "{folder}/text.json/result.json"], "result.json: cannot be written"),
    ],
)
def test_wrong_input_is_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "text.json").write_text("text")
    (tmp_path / "other.json").write_text("{}")
    assert main(["benchmark", *(argument.format(folder=tmp_path) for argument in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_result_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=lambda: (tmp_path / "pipe").write_text(json.dumps(dict.fromkeys(command.ALWAYS))))
    writer.start()
    assert command.read_result(tmp_path / "pipe").keys() == command.ALWAYS
    writer.join()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "two"])
def test_seconds_are_positive(value, capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", f"--seconds={value}"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert "--seconds" in error and f"'{value}'" in error


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    """Small enough for a moment, and printed once more from what was written."""
    pytest.importorskip("torch_levenberg_marquardt")
    file = tmp_path / "result.json"
    small = ["--quick", "--seconds", "0.05", "--parts", "pairs", "trainings", "--datasets", "poisson_2d_poly"]
    assert main(["benchmark", *small, "--output", str(file)]) == 0
    result = command.read_result(file)
    json.dumps(result, allow_nan=False)
    assert capsys.readouterr().out == as_text(result) + "\n"
    assert main(["benchmark", "--input", str(file), "--markdown"]) == 0
    markdown = capsys.readouterr().out
    assert markdown == as_text(result, markdown=True) + "\n"
    assert re.search(r"\| \[2, 5, 1\] +\| 3 +\| float64 +\|", markdown)
    shares = [c["roofline"]["share_of_limit"] for c in result["pairs"] if "roofline" in c]
    assert len(shares) == len(cases.QUICK_SHAPES)
    assert all(share > 0 for share in shares)
    assert [training["optimizer"] for training in result["trainings"]] == ["adam", "lbfgs", "lm"]
