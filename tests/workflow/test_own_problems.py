"""Functions and tables of users' own, through the workflow, without touching the package."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

import kanbench
from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run
from kanbench.storage.verification import verify
from support.pipelines import PROFILE, assert_one_line, contents, planned, run, snakemake
from support.results import opened

pytestmark = pytest.mark.slow

OWN = ROOT / "tests" / "support" / "data" / "own"
SMALL = {
    "timestamp": "20260101_000000",
    "sections": ["section2_1", "section2_3"],
    "problems": ["mine.py"],
    "table": {"path": "measurements.csv", "inputs": ["temperature", "pressure"], "target": "density"},
    "datasets": ["decay", "bumps", "measurements"],
    "epochs": 2,
    "seeds": [1],
    "data": {"train_num": 60, "test_num": 50, "dense_num": 200},
    "grids": {"sizes": [3, 5]},
    "experts": {"depths": [1], "seeds": [1], "epochs": 10},
    "merge_kan": {"n_selected": 2, "grids": [5], "epochs": 2, "valid_num": 30},
    "optimizers": {"compared": ["lbfgs"]},
}
STATE = "results/sec1_results/section2_1_20260101_000000_e2_lbfgs_{}_final_state"


@pytest.fixture
def folder(tmp_path):
    for name in ("mine.py", "measurements.csv"):
        shutil.copy(OWN / name, tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path


def workflow(folder, *arguments):
    return snakemake(folder, "--configfile", "mine.yaml", *arguments, smoke=False)


def test_the_documented_file_is_the_tested_one():
    documented = (ROOT / "config" / "README.md").read_text()
    assert f"```python\n{(OWN / 'mine.py').read_text()}```" in documented
    header = pd.read_csv(OWN / "measurements.csv").columns
    assert all(f"`{name}`" in documented for name in header)


def test_own_functions_and_a_table_through_the_whole_workflow(folder):
    result = workflow(folder)
    assert result.returncode == 0, result.stderr
    results = folder / "results"
    frames, attrs = kanbench.load_run("section2_1", results_dir=results)
    assert list(frames["lbfgs"]["dataset_name"].unique()) == SMALL["datasets"]
    stated = attrs["provenance"]["problems"]
    assert {name: problem["inputs"] for name, problem in stated.items()} == {"decay": 2, "bumps": 4, "measurements": 2}
    assert [problem["source"]["path"] for problem in stated.values()] == ["mine.py", "mine.py", "measurements.csv"]
    assert all(re.fullmatch(r"[0-9a-f]{16}", problem["source"]["digest"]) for problem in stated.values())
    density = pd.read_csv(folder / "measurements.csv")["density"]
    assert stated["measurements"]["target"]["mean"] == pytest.approx(density.mean(), rel=0.3)
    checked = verified(folder)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count(": no faults") == 2 and "not run" not in checked.stdout
    assert "mine.py: not run for the target of decay" in run(["python", "-m", "kanbench", "verify"], folder).stdout
    figures = {path.stem for path in (results / "figures").glob("section2_1*/*.png")}
    assert {"surface_decay", "surface_measurements", "slices_bumps", "slices_measurements"} <= figures
    assert "left out" not in (results / "logs" / "section2_1_20260101_000000_e2_figures.log").read_text()
    assert "Nothing to be done" in again(folder)

    mine = folder / "mine.py"
    text = mine.read_text()
    mine.write_text(text.replace("A wave that", "# no change\n    # A wave which"))
    assert "Nothing to be done" in again(folder)
    mine.write_text(text.replace("t / 50", "t / 40"))
    trained = planned(workflow(folder, "--dry-run"))
    assert trained["train_section2_1"] == trained["merge_experts"] == trained["train_control"] == 1
    assert trained["train_expert"] == 1
    checked = verified(folder)
    assert "problem decay: has changed since" in checked.stdout
    assert "bumps: has changed" not in checked.stdout
    changed = Run("section2_1", SMALL["timestamp"], SMALL["epochs"]).deliverables(3, ["lbfgs"])
    assert workflow(folder, "--", *changed).returncode == 0
    assert verify(opened(kanbench.list_runs("section2_1", results_dir=results)[-1])).faults == []
    measured = pd.read_csv(folder / "measurements.csv")
    measured.assign(density=2 * measured["density"]).to_csv(folder / "measurements.csv", index=False)
    trained = planned(workflow(folder, "--dry-run"))
    assert (trained["train_section2_1"], trained["train_expert"]) == (1, 2)  # the experts of decay are still to come


def verified(folder):
    return run(["python", "-m", "kanbench", "verify", "--config", "mine.yaml"], folder)


def again(folder):
    result = workflow(folder, "--dry-run")
    return result.stdout + result.stderr


def test_one_target_and_the_command_line(folder):
    options = ["--config", "problems=[mine.py]", "datasets=[bumps]", "seeds=[1]", "epochs=1", "grids={sizes: [3]}"]
    options += ["data={train_num: 60, test_num: 50, dense_num: 200}"]
    target = "results/sec1_results/section2_1_20260101_000000_e1_lm_0_final_state"
    result = snakemake(folder, *options, "--", target, smoke=False)
    assert result.returncode == 0, result.stderr
    made = {path.name for path in Path(folder, "results", "sec1_results").iterdir()}
    assert len(made) == 6 and Path(target).name in made


WRONG = {  # the change, and what the line names
    "no file": ({"problems": ["none.py"]}, "none.py: cannot be read (No such file or directory)"),
    "no problem": ({"datasets": ["decai"]}, "found 'decai'; allowed: decay, bumps, measurements"),
    "a table that is not used": ({"datasets": ["decay"]}, "a list that contains measurements, the name of the table"),
    "a column": (
        {"table": SMALL["table"] | {"target": "mass"}},
        "measurements.csv: column 'mass': missing; allowed: temperature, pressure, density",
    ),
    "a name": ({"table": SMALL["table"] | {"name": "my data"}}, "config: table.name: found 'my data'"),
    "a key": ({"table": {"path": "measurements.csv"}}, "config: table.inputs: missing"),
    "the same name": ({"table": SMALL["table"] | {"name": "decay"}}, "problem decay: duplicate name"),
    "shares": ({"data": {"shares": {"train": 0.9}}}, "allowed: shares that add up to 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configurations_are_one_line(folder, case):
    change, words = WRONG[case]
    (folder / "mine.yaml").write_text(yaml.safe_dump(SMALL | change))
    assert_one_line(workflow(folder, "--dry-run"), folder, words, kept=contents(folder))


def test_a_function_that_fails_is_one_line_in_the_log(folder):
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(text.replace("np.exp(-t / 50)", "np.log(t - 50)"))
    result = workflow(folder, "--workflow-profile", PROFILE, "--", STATE.format(0))
    assert result.returncode != 0
    log = (folder / "results" / "logs" / "section2_1_20260101_000000_e2_lbfgs_0.log").read_text()
    told = re.compile(r"^ *kanbench: mine.py: problem decay: not finite at \d+ of 60 samples, such as \[", re.MULTILINE)
    assert told.search(log)
    assert "Traceback" not in log
    assert "FAILED: Training L-BFGS on decay" in result.stderr
    assert told.search(result.stderr)
