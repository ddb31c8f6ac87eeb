"""Variants of a section, from their configuration to what reads them; in three dimensions and in a hundred."""

import shutil

import pandas as pd
import pytest
import torch
import yaml

import kanbench
from kanbench.analysis.moments import iso_compute
from kanbench.cli.main import main
from kanbench.network.initialization import initialize
from kanbench.network.pykan import predict, to_pykan
from kanbench.plan.config import ROOT, load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.storage.verification import verify
from kanbench.storage.verification.models import _agree, terms
from support.results import STAMP, opened

SMALL = {"data": {"train_num": 60, "test_num": 50, "dense_num": 200}, "grids": {"sizes": [3, 5]}}


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Runs of a shallow and of a deep configuration, made by the commands of the rules: the folder of results."""
    results = tmp_path_factory.mktemp("variants") / "results"
    for name in ("highd_3d_shallow", "highd_100d_deep"):
        config = results.parent / f"{name}.yaml"
        config.write_text(yaml.safe_dump(merge(load_config(ROOT / "config" / f"{name}.yaml"), SMALL)))
        run = Run(f"section2_1_{name}", STAMP, 2, str(results))
        records = {m: run.record(run.training(m, 0)) for m in ("lbfgs", "lm")}
        for model_type, record in records.items():
            command("train", run.training(model_type, 0), "--config", config, "--results-dir", results)
            frames = [run.frame(model_type, suffix) for suffix in ("pkl", "parquet")]
            command("frame", *frames, "--trainings", record, "--reference", records["lbfgs"])
        command("metadata", run.checkpoint_metadata(), "--trainings", *records.values())
    return results


def command(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def test_the_files_are_those_of_the_section(variants):
    made = sorted(str(path) for path in (variants / "sec1_results").iterdir())
    promised = [
        path
        for name in ("highd_3d_shallow", "highd_100d_deep")
        for path in Run(f"section2_1_{name}", STAMP, 2, str(variants)).deliverables(1, ["lbfgs", "lm"])
    ]
    assert made == sorted(promised)


def test_they_are_found_and_loaded(variants):
    runs = kanbench.list_runs(results_dir=variants)
    assert [run.section for run in runs] == ["section2_1_highd_100d_deep", "section2_1_highd_3d_shallow"]
    assert kanbench.find_run("section2_1_highd_3d_shallow", results_dir=variants) == runs[1]
    with pytest.raises(kanbench.errors.InputError, match="no run section2_1_"):
        kanbench.find_run("section2_1", results_dir=variants)
    results, meta, models = kanbench.load_run("section2_1_highd_100d_deep", results_dir=variants, load_models=True)
    assert list(results) == ["lbfgs", "lm"]
    assert meta["section"] == "section2_1_highd_100d_deep"
    assert meta["lbfgs_threshold_time"] > 0
    for model_type, frame in results.items():
        assert frame["dataset_name"].unique().tolist() == ["poisson_100d_sin"]
        assert frame["num_params"].tolist() == [1010 * 8] * 2 + [1010 * 10] * 2
        final = models[model_type][0]["final"]
        assert [nodes for nodes, _ in final.width] == [100, 10, 1]
        assert final.cache_data.shape == (60, 100)
    assert set(iso_compute(results, by="time").index.get_level_values("model_type")) <= {"lbfgs", "lm"}


def test_degenerate_problems_are_named_in_the_log(variants, tmp_path, caplog):
    """With few epochs and samples, but the dense sample of the configuration."""
    for name, degenerate in (("highd_3d_shallow", False), ("highd_100d_shallow", True)):
        config = tmp_path / f"{name}.yaml"
        small = {"data": {"train_num": 20, "test_num": 20}, "grids": {"sizes": [3]}}
        config.write_text(yaml.safe_dump(merge(load_config(ROOT / "config" / f"{name}.yaml"), small)))
        caplog.clear()
        training = Run(f"section2_1_{name}", STAMP, 1).training("lbfgs", 0)
        command("train", training, "--config", config, "--results-dir", tmp_path)
        assert ("is degenerate: the target differs" in caplog.text) == degenerate


def test_they_agree(variants):
    for run in kanbench.list_runs(results_dir=variants):
        findings = verify(opened(run))
        assert findings.faults == []
        assert findings.notes == []


def test_losses_of_models_whose_terms_cancel():
    """Two edges that cancel: what is left is rounding of their terms, and no fault; a larger difference is one."""
    model = to_pykan(initialize([1, 2, 1], 5))
    first, last = model.act_fun
    with torch.no_grad():
        for part in (first.coef, first.scale_base, first.scale_sp):
            part[:, 1] = part[:, 0]  # the hidden nodes are the same,
        for part in (last.coef, last.scale_base):
            part[:] = torch.stack([1e6 * part[0], -1e6 * part[0]])  # and the output is a difference
        last.scale_sp[1] = last.scale_sp[0]
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    size, by_edge = terms(model, x), last(first(x)[0])[2]
    assert torch.equal(size, by_edge[:, :, 0].abs() + by_edge[:, :, 1].abs())
    assert size.mean() > 1
    loss = predict(model, x).square().mean().item()
    assert loss < 1e-20 * size.square().mean()
    close, far = ((error * size).square().mean().item() for error in (1e-13, 1e-11))
    assert not _agree(loss, close, torch.zeros_like(x))
    assert _agree(loss, close, size)
    assert not _agree(loss, far, size)


def test_a_missing_model_type_shows(variants, tmp_path):
    run = kanbench.find_run("section2_1_highd_3d_shallow", results_dir=variants)
    copy = Run(run.section, run.timestamp, run.epochs, str(tmp_path))
    (tmp_path / "sec1_results").mkdir()
    for path in run.deliverables(1, ["lbfgs", "lm"]):
        if "_lm" not in path:
            shutil.copy(path, tmp_path / "sec1_results")
    faults = verify(opened(copy)).faults
    assert f"{copy.frame('lm')}: missing" in faults
    assert not any("adam" in fault for fault in faults)


def test_the_commands_know_them(variants, capsys):
    section = "section2_1_highd_3d_shallow"
    command("list", section, "--results-dir", variants)
    assert section in capsys.readouterr().out
    command("summary", section, "--results-dir", variants)
    assert "sin, 3 inputs" in capsys.readouterr().out
    command("verify", "--results-dir", variants)
    assert capsys.readouterr().out.count("no faults") == 2
    command("inspect", variants / "sec1_results" / f"{section}_{STAMP}_e2")
    text = capsys.readouterr().out
    assert "missing" not in text
    assert "earlier" not in text
    assert main(["summary", "section2", "--results-dir", str(variants)]) == 1
    assert "section: found 'section2'; allowed: section2_1" in capsys.readouterr().err


def test_a_training_of_a_variant_needs_its_configuration(tmp_path, capsys):
    name = f"section2_1_highd_3d_shallow_{STAMP}_e2_lm_0"
    assert main(["train", name, "--results-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "found section2_1_highd_3d_shallow; allowed: section2_1: " in said
    assert "variant: null" in said


def test_variants_are_saved_and_migrated(tmp_path):
    frame = pd.DataFrame({"dataset_idx": [0], "dataset_name": "a", "epoch": [1], "test_loss": 1.0, "grid_size": 3})
    stamp = kanbench.save_run({"lm": frame}, "section2_1_mine", epochs=1, device="cpu", results_dir=tmp_path)
    results, meta = kanbench.load_run("section2_1_mine", stamp, results_dir=tmp_path)
    assert list(results) == ["lm"]
    assert meta["section"] == "section2_1_mine"
    assert (tmp_path / "sec1_results" / f"section2_1_mine_{stamp}_e1_lm.pkl").exists()
    for wrong in ("section2_1_", "section2_1_Mine", "section2_1_a_20260101_000000"):
        with pytest.raises(kanbench.errors.InputError, match="or a variant of one"):
            kanbench.save_run({"lm": frame}, wrong, epochs=1, results_dir=tmp_path)


def test_every_section_can_be_a_variant():
    for section, known in SECTIONS.items():
        run = Run(f"{section}_wide", STAMP, None if section == "section2_3" else 2)
        assert run.folder == f"results/{known.folder}"
        assert run.kind is known
