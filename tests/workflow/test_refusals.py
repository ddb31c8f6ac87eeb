"""What Snakemake is given and cannot use ends in one line that names the key, target or file."""

import pytest
import torch
from snakemake.cli import parse_config

from kanbench.errors import InputError
from kanbench.plan.config import ROOT, check, load_config, merge
from kanbench.plan.naming import Run
from support.pipelines import SMOKE, STAMP, assert_one_line, contents, forked, snakemake

WRONG_CONFIGURATIONS = {  # as `--config` takes them: where, found
    "epoch=3": ("epoch", ""),
    "seed=2": ("seed", "seeds"),
    "epochs=0": ("epochs", "0"),
    "epochs=many": ("epochs", "'many'"),
    "epochs=2.5": ("epochs", "2.5"),
    "timestamp=20261": ("timestamp", "20261"),
    "timestamp=20269901_000000": ("timestamp", "'20269901_000000'"),
    "datasets=[poisson]": ("datasets", "'poisson'"),
    "datasets=poisson_2d_sin": ("datasets", "'poisson_2d_sin'"),
    "device=gpu": ("device", "'gpu'"),
    "dtype=float16": ("dtype", "'float16'"),
    "engine=warp": ("engine", "'warp'"),
    "grids={sizes: [5, 3]}": ("grids.sizes", "[5, 3]"),
    "grids={policy: keep}": ("grids.policy", "'keep'"),
    "model={width: [3, 5, 1]}": ("model.width", "[3, 5, 1]"),
    "optimizers={adam: {lr: -1}}": ("optimizers.adam.lr", "-1"),
    "optimizers={sgd: {lr: 1}}": ("optimizers.sgd", ""),
    "threshold={patience: 0}": ("threshold.patience", "0"),
    "adaptive_density={fraction: 1.5}": ("adaptive_density.fraction", "1.5"),
    "experts={orders: [2, 6]}": ("experts.orders", "6"),
    "merge_kan={n_selected: 21}": ("merge_kan.n_selected", "21"),
    "table={path: a.csv, input: [x], target: y}": ("config: table.input: unknown key (did you mean 'inputs'?)",),
    "table={path: a.csv, inputs: [x]}": ("config: table.target: missing",),
    "table={path: a.csv, inputs: x, target: y}": ("config: table.inputs: found 'x'; allowed: a list of column names",),
    "table=[{path: a.csv, inputs: [x], goal: y}]": ("config: table.0.goal: unknown key",),
    "table=a.csv": ("config: table: found 'a.csv'; allowed: null, {path: FILE.csv",),
    "table=[a.csv]": ("config: table.0: found 'a.csv'; allowed: {path: FILE.csv",),
    "table={path: a.csv, inputs: [x], target: y}": ("config: table.path: a.csv: cannot be read (No such file",),
    "problems=[a.py]": ("config: problems: a.py: cannot be read (No such file",),
    "merge_kan={intermediate_models: [3, 5]}": ("merge_kan.intermediate_models", "[3, 5]"),
}


@pytest.mark.parametrize("wrong", WRONG_CONFIGURATIONS)
def test_a_wrong_configuration_is_refused(wrong):
    """By the same check as below, without the start of Snakemake."""
    with pytest.raises(InputError) as error:
        check(merge(load_config(), parse_config([wrong])))
    assert all(word in str(error.value) for word in WRONG_CONFIGURATIONS[wrong])


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["epoch=3", "timestamp=20261", "grids={sizes: [5, 3]}", "seed=2"])
def test_a_wrong_configuration_is_one_line(tmp_path, wrong):
    result = snakemake(tmp_path, "--config", wrong, smoke=False)
    assert_one_line(result, tmp_path, "config", *WRONG_CONFIGURATIONS[wrong])


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_line(tmp_path):
    assert_one_line(snakemake(tmp_path, "--config", "device=cuda"), tmp_path, "config: device", "'cuda'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("section2_4", ["'section2_4'", "section2_3, seeds, figures", "results/report.html"]),
        ("seeds", ["seeds: [1]", "two seeds"]),
        (f"{Run('section2_1', STAMP, 3).figure_folder}/grids.png", ["no such result", "params.png, or one of "]),
        (f"{Run('section2_1', STAMP, 3).checkpoint('lm', 4, 'final')}_state", ["dataset 4", "0, 1"]),
    ],
)
def test_a_wrong_target_is_one_line(tmp_path, target, words):
    assert_one_line(snakemake(tmp_path, "--", target), tmp_path, target, *words)


@pytest.mark.slow
def test_a_wrong_seed_is_one_line(tmp_path):
    target = Run("section2_1", STAMP, 3).replicate(3).frame("adam")
    assert_one_line(snakemake(tmp_path, "--config", "seeds=[1,2]", "--", target), tmp_path, target, "seed 3")


@pytest.mark.slow
def test_a_name_of_another_variant_is_one_line(tmp_path):
    target = Run("section2_1", STAMP, 3).frame("lm")
    configured = "--configfile", ROOT / "config" / "highd_3d_deep.yaml"
    result = snakemake(tmp_path, *configured, "--", target, smoke=False)
    assert_one_line(result, tmp_path, target, "section2_1_highd_3d_deep")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "word"),
    [(["--sdm", "conda"], "allowed: with --conda-not-block-search-path-envvars"), (["--use-conda"], "--sdm conda")],
)
def test_conda_environments_that_would_not_find_the_package_are_one_line(tmp_path, options, word):
    assert_one_line(snakemake(tmp_path, *options), tmp_path, word)


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "options", "word"), [(0, [], "--cores"), (2, ["--max-threads", 0], "--max-threads")])
def test_no_cores_are_one_line(tmp_path, cores, options, word):
    """With none, Snakemake waits forever."""
    assert_one_line(snakemake(tmp_path, *options, cores=cores), tmp_path, f"{word}: found 0; allowed: an integer")


@pytest.mark.slow
def test_jobs_on_a_cluster_need_no_cores(tmp_path):
    """Here the cluster refuses the first job, which shows that Snakemake came that far."""
    cluster = "--executor", "cluster-generic", "--cluster-generic-submit-cmd", "echo no queue >&2; false"
    command = ["snakemake", "-s", ROOT / "Snakefile", *cluster, "--configfile", SMOKE, "--jobs"]
    record = Run("section2_1", STAMP, 3).record(f"section2_1_{STAMP}_e3_lm_0")
    assert "no queue" in forked([*command, 3, "--", record], tmp_path).stderr
    (other := tmp_path / "other").mkdir()
    assert_one_line(forked([*command, 0, "-n"], other), other, "--jobs: found 0")


@pytest.mark.slow
def test_a_damaged_pin_is_one_line(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "timestamp").write_text("yesterday\n")
    result = snakemake(tmp_path)
    assert result.returncode != 0
    [line] = [line for line in result.stderr.splitlines() if line.startswith("kanbench: ")]
    assert "results/timestamp: found 'yesterday'" in line
    assert contents(tmp_path) == ["results", "results/timestamp"]
