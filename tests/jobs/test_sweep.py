"""The sweep: what it varies, and how it sums up."""

import numpy as np
import pandas as pd
import pytest

from kanbench.errors import InputError
from kanbench.jobs.sweep import as_text, sweep, table, with_value, write_rows
from kanbench.plan.config import merge


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
    first, second, *_, last = as_text(rows, "adam", "lr", [7, 8]).splitlines()
    assert first.startswith("adam: ")
    assert "[7, 8]" in second
    assert last.split() == ["2", "4", "8", "6", "5.66"]
    write_rows(rows, tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "rows.csv"), rows)


def test_a_sweep_trains_every_value_seed_and_dataset(config):
    small = merge(
        config,
        {
            "datasets": ["poisson_2d_poly", "poisson_2d_sin"],
            "epochs": 2,
            "grids": {"sizes": [3]},
            "data": {"train_num": 50, "test_num": 50},
        },
    )
    rows = sweep(small, "adam", "optimizers.adam.lr", [0.01, 0.1], [5, 6])
    assert rows.groupby(["optimizers.adam.lr", "seed", "dataset"]).size().tolist() == [1] * 8
    assert np.isfinite(rows["relative_test_loss"]).all()
    assert rows["relative_test_loss"].nunique() == 8
