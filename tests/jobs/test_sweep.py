"""The sweep: what it varies, and how it sums up."""

import numpy as np
import pandas as pd
import pytest
import yaml

from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.jobs.sweep import as_text, sweep, table, with_value, write_rows
from kanbench.plan.config import merge
from kanbench.training import trainer as samples


def test_a_value_is_put_at_its_key(config):
    changed = with_value(config, "optimizers.adam.lr", 0.5)
    assert changed == merge(config, {"optimizers": {"adam": {"lr": 0.5}}})
    assert config["optimizers"]["adam"]["lr"] != 0.5


@pytest.mark.parametrize(("key", "value"), [("optimizers.adam.rate", 1), ("epochs.adam", 1), ("epochs", 0)])
def test_keys_and_values_are_checked(config, key, value):
    with pytest.raises(InputError) as error:
        with_value(config, key, value)
    assert "config" in error.value.where


def test_losses_by_value_and_dataset(tmp_path):
    rows = pd.DataFrame(
        [(v, s, d, loss) for v in (1, 2) for s, d, loss in [(7, "a", 1.0 * v), (8, "a", 4.0 * v), (7, "b", 8.0)]],
        columns=["lr", "seed", "dataset", "relative_test_loss"],
    )
    found = table(rows, "lr")
    assert found["a"].tolist() == pytest.approx([2, 4])
    assert found["b"].tolist() == pytest.approx([8, 8])
    assert found["mean"].tolist() == pytest.approx([5, 6])
    assert found["geometric_mean"].tolist() == pytest.approx([4, 32**0.5])
    first, second, *_, last = as_text(rows, "adam", "lr").splitlines()
    assert first.startswith("adam: ")
    assert "[7, 8]" in second
    assert last.split() == ["2", "4", "8", "6", "5.66"]
    write_rows(rows, tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "rows.csv"), rows)


SMALL = {
    "datasets": ["poisson_2d_poly", "poisson_2d_sin"],
    "epochs": 2,
    "grids": {"sizes": [3]},
    "data": {"train_num": 50, "test_num": 50},
}


def test_a_sweep_trains_every_value_seed_and_dataset(config):
    rows = pd.DataFrame(sweep(merge(config, SMALL), "adam", "optimizers.adam.lr", [0.01, 0.1], [5, 6]))
    assert rows.groupby(["optimizers.adam.lr", "seed", "dataset"]).size().tolist() == [1] * 8
    assert np.isfinite(rows["relative_test_loss"]).all()
    assert rows["relative_test_loss"].nunique() == 8


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("timestamp", ["new", "20260101_000000"]),
        ("engine", ["compiled", "torch"]),
        ("timing", [{"repeats": 1}, {"repeats": 2}]),
        ("data.seed", [1, 2]),
        ("optimizers.lm.damping", [1, 2]),  # of another model type
        ("optimizers.adam.lr", [0.1, 0.2, 0.1]),
        ("data.train_num", [50, 0]),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(config, key, values):
    with pytest.raises(InputError, match=key.replace("timing", "timing|sweep")):
        next(sweep(merge(config, SMALL), "adam", key, values, [5]))


def test_a_seed_twice_is_refused(config):
    with pytest.raises(InputError, match="--seeds"):
        next(sweep(merge(config, SMALL), "adam", "optimizers.adam.lr", [0.1, 0.2], [5, 5]))


@pytest.fixture
def swept(tmp_path):
    """Sweep with the command line: the rows that are left."""
    config, left = tmp_path / "small.yaml", tmp_path / "left" / "rows.csv"
    config.write_text(yaml.safe_dump(SMALL))

    def run(*words):
        status = main(["sweep", "adam", *words, "--seeds", "5", "--config", str(config), "--output", str(left)])
        return status, pd.read_csv(left) if left.exists() else pd.DataFrame()

    return run


@pytest.mark.parametrize(("key", "values"), [("model.width", ["[2, 1]", "[2, 2, 1]"]), ("epochs", ["1", "2"])])
def test_values_may_be_lists(swept, key, values, capsys):
    status, rows = swept(key, *values)
    assert status == 0
    assert rows[key].astype(str).tolist() == [value for value in values for _ in range(2)]
    shown = capsys.readouterr().out.splitlines()[-2:]
    assert [line[: len(value)] for line, value in zip(shown, values, strict=True)] == [v.strip() for v in values]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (InputError("here"), 1)])
def test_what_was_trained_is_kept_whatever_ends_a_sweep(swept, error, status, monkeypatch, capsys):
    made = []

    def make_data(settings):
        made.append(settings)
        if len(made) == 3:
            raise error
        return samples.make_data(settings)

    monkeypatch.setattr("kanbench.jobs.sweep.make_data", make_data)
    ended, rows = swept("optimizers.adam.lr", "0.1", "0.2")
    assert ended == status
    assert rows["dataset"].tolist() == SMALL["datasets"]
    assert "0.1" in capsys.readouterr().out.splitlines()[-1]
