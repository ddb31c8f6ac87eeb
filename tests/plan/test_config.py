"""The configuration: one default, one source, one clear line for what is wrong."""

import json
import os
import re
import tomllib
from threading import Thread

import pytest
import yaml
from msgspec.structs import replace
from packaging.requirements import Requirement
from snakemake.cli import parse_config

from kanbench.errors import InputError
from kanbench.plan.config import RENAMED, ROOT, check, experts, load_config, merge
from kanbench.plan.sections import SECTIONS
from kanbench.plan.settings import (
    TrainingSettings,
    as_dict,
    canonical_json,
    control_settings,
    digest,
    expert_settings,
    make_settings,
    merge_settings,
    model_types,
    training_settings,
)

WRONG = {  # what is changed, and the key, what is found and how the allowed values begin
    "a word for a number": ({"epochs": "ten"}, "epochs", "'ten'", "an integer, at least 1"),
    "a fraction": ({"epochs": 2.5}, "epochs", "2.5", "an integer, at least 1"),
    "a float that is whole": ({"epochs": 10.0}, "epochs", "10.0", "an integer, at least 1"),
    "a truth value": ({"epochs": True}, "epochs", "True", "an integer, at least 1"),
    "nothing": ({"epochs": None}, "epochs", "None", "an integer, at least 1"),
    "zero": ({"data": {"test_num": 0}}, "data.test_num", "0", "an integer, at least 1"),
    "a single sample": ({"data": {"train_num": 1}}, "data.train_num", "1", "an integer, at least 2"),
    "a negative rate": ({"optimizers": {"adam": {"lr": -0.1}}}, "optimizers.adam.lr", "-0.1", "a finite number above"),
    "an unknown problem": ({"datasets": ["poisson"]}, "datasets", "'poisson'", "poisson_"),
    "a problem twice": (
        {"datasets": ["poisson_2d_sin"] * 2},
        "datasets",
        "['poisson_2d_sin', ",
        "a list of at least one problem, no duplicates",
    ),
    "no problem": ({"datasets": []}, "datasets", "[]", "a list of at least one problem"),
    "an unknown device": ({"device": "gpu"}, "device", "'gpu'", "auto, cpu, cuda"),
    "an unknown dtype": ({"dtype": "float16"}, "dtype", "'float16'", "float32, float64"),
    "an unknown engine": ({"engine": "fast"}, "engine", "'fast'", "auto, compiled, torch, reference"),
    "the engine for CPUs on CUDA": (
        {"device": "cuda", "engine": "compiled"},
        "engine",
        "'compiled'",
        "auto, torch, reference",
    ),
    "an unknown policy": ({"grids": {"policy": "keep"}}, "grids.policy", "'keep'", "preserve, refit, pykan"),
    "grids that shrink": ({"grids": {"sizes": [5, 3]}}, "grids.sizes", "[5, 3]", "increasing"),
    "a width for other inputs": ({"model": {"width": [3, 5, 1]}}, "model.width", "[3, 5, 1]", "a list from 2, the"),
    "a width for other outputs": (
        {"model": {"width": [2, 5, 2]}},
        "model.width",
        "[2, 5, 2]",
        "a list from 2, the inputs of poisson_2d_sin, to 1",
    ),
    "an order that is too high": ({"model": {"k": 9}}, "model.k", "9", "an integer from 1 to 5"),
    "not a number": ({"optimizers": {"adam": {"lr": float("nan")}}}, "optimizers.adam.lr", "nan", "a finite"),
    "too large a number": ({"threshold": {"tolerance": "1e999"}}, "threshold.tolerance", "inf", "a finite"),
    "a short number": ({"timestamp": 20261}, "timestamp", "20261", "auto, new, or"),
    "no date": ({"timestamp": "yesterday"}, "timestamp", "'yesterday'", "auto, new, or a date"),
    "a variant with a space": ({"variant": "my own"}, "variant", "'my own'", "null, or small letters"),
    "a variant with a time": ({"variant": "x_20260101_000000"}, "variant", "'x_20260101_000000'", "null"),
    "a number for a variant": ({"variant": 3}, "variant", "3", "null, or a name"),
    "no section": ({"sections": []}, "sections", "[]", "a list of at least one of section2_1"),
    "an unknown section": ({"sections": ["section2_4"]}, "sections.0", "'section2_4'", "section2_1, section2_2"),
    "no reference": ({"optimizers": {"compared": ["lm"]}}, "optimizers.compared", "['lm']", "a list of"),
    "an optimizer twice": ({"optimizers": {"compared": ["lbfgs"] * 2}}, "optimizers.compared", "['lbfgs', ", "a list"),
    "a date that does not exist": ({"timestamp": "20261332_000000"}, "timestamp", "'20261332_000000'", "auto"),
    "experts on finer grids": ({"merge_kan": {"grids": [3, 5]}}, "merge_kan.grids", "3 as the first", "at least 5"),
    "one seed": ({"seeds": 1}, "seeds", "1", "a list of at least one seed"),
    "no seed": ({"seeds": []}, "seeds", "[]", "a list of at least one seed"),
    "a seed twice": ({"seeds": [1, 2, 1]}, "seeds", "[1, 2, 1]", "a list of at least one seed, no duplicates"),
    "a negative seed": ({"seeds": [1, -2]}, "seeds.1", "-2", "an integer from 0 to 4294967295"),
    "more seeds of merging than seeds": (
        {"seeds": [7], "merge_kan": {"seeds": 2}},
        "merge_kan.seeds",
        "2",
        "1 to 1, the",
    ),
    "no seed of merging": ({"merge_kan": {"seeds": 0}}, "merge_kan.seeds", "0", "an integer, at least 1"),
    "experts of two seeds": (
        {"seeds": [1, 2], "experts": {"seeds": [1, 1001]}},
        "experts.seeds",
        "[1, 1001]",
        "with 2 seeds, numbers that do not differ by a multiple of 1000",
    ),
    "experts' seeds too large": (
        {"seeds": [1, 2], "experts": {"seeds": [4294966296]}},
        "experts.seeds",
        "[4294966296]",
        "with 2 seeds",
    ),
    "a number for a mapping": ({"data": 3}, "data", "3", "a mapping"),
    "a list for a mapping": ({"threshold": [2, 0.05]}, "threshold", "[2, 0.05]", "a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(config, case):
    over, key, found, allowed = WRONG[case]
    with pytest.raises(InputError) as error:
        check(merge(config, over))
    assert error.value.where == f"config: {key}"
    assert error.value.found.startswith(found)
    assert error.value.allowed.startswith(allowed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("over", "key"),
    [({"epoch": 3}, "epoch"), ({"optimizers": {"adam": {"rate": 1}}}, "optimizers.adam.rate")],
)
def test_unknown_keys_are_named(config, over, key):
    with pytest.raises(InputError, match="unknown key") as error:
        check(merge(config, over))
    assert error.value.where == f"config: {key}"
    assert ("did you mean 'epochs'?" in error.value.problem) == (key == "epoch")


def test_every_renamed_key_names_its_successor(config):
    for old, now in RENAMED.items():
        section, key = old.split(".")
        value = config[section][now]  # the key of today has the meaning of the old one
        with pytest.raises(InputError) as error:
            check(merge(config, {section: {key: value}}))
        assert str(error.value) == f"config: {old}: renamed to {now}"


def test_a_single_expert_can_be_selected(config):
    assert check(merge(config, {"merge_kan": {"n_selected": 1}}))["merge_kan"]["intermediate_models"] == []


def test_every_seed_has_experts_of_its_own(config):
    few = {"experts": {"depths": [2], "orders": [3], "seeds": [1, 4]}, "merge_kan": {"n_selected": 2}}
    several = check(merge(config, {"seeds": [5, 2, 9], **few}))
    assert experts(several) == experts(several, 5) == [(2, 3, 1), (2, 3, 4)]
    assert experts(several, 2) == [(2, 3, 1001), (2, 3, 1004)]
    assert experts(several, 9) == [(2, 3, 2001), (2, 3, 2004)]
    check(merge(config, {"seeds": [5], "experts": {"seeds": [1, 1001]}}))  # with one seed they may be any


def test_a_missing_key_is_named(config):
    with pytest.raises(InputError, match="missing") as error:
        check({key: value for key, value in config.items() if key != "epochs"})
    assert error.value.where == "config: epochs"


def test_the_default_is_the_full_reproduction(config):
    assert config["epochs"] == 10
    assert config["datasets"] == ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"]
    assert config["grids"]["sizes"] == [3, 5, 10, 20, 50, 100]
    assert config["model"] == {"width": ["d", 5, 1], "k": 3}
    assert config["seeds"] == [1, 2, 3, 4, 5]
    assert config["merge_kan"]["seeds"] == 1
    assert config["data"] == {
        **{"train_num": 1000, "test_num": 1000, "dense_num": 10000},
        **{"seed": 0, "targets": "standardized", "shares": {"train": 0.6, "test": 0.2, "valid": 0.1, "dense": 0.1}},
    }


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_of_the_project_is_right(path):
    load_config(path)


@pytest.mark.parametrize("d", [3, 4, 10, 100])
def test_the_variants_in_high_dimensions(d):
    shallow, deep = (load_config(ROOT / "config" / f"highd_{d}d_{kind}.yaml") for kind in ("shallow", "deep"))
    assert shallow["variant"] == f"highd_{d}d_shallow"
    assert deep["variant"] == f"highd_{d}d_deep"
    widths = {
        3: ([3, 5, 1], [3, 3, 2, 1]),
        4: ([4, 5, 1], [4, 4, 2, 1]),
        10: ([10, 5, 1], [10, 10, 5, 1]),
        100: ([100, 1, 1], [100, 10, 1]),
    }
    assert (shallow["model"]["width"], deep["model"]["width"]) == widths[d]
    assert shallow["grids"]["sizes"] == [3, 5, 10, 20, 50, 100][: {3: 6, 4: 6, 10: 5, 100: 4}[d]]
    for config in (shallow, deep):
        assert config["datasets"] == [f"poisson_{d}d_sin"]
        assert model_types(config, "section2_1") == ["lbfgs", "lm"]
        assert config["sections"] == ["section2_1"]
        assert config["data"] == load_config()["data"]
        assert config["grids"] == shallow["grids"]


def test_the_model_types_of_sections(config):
    assert model_types(config, "section2_1") == ["adam", "lbfgs", "lm"]
    fewer = merge(config, {"optimizers": {"compared": ["lm", "lbfgs"]}})
    assert model_types(fewer, "section2_1") == ["lbfgs", "lm"]
    for section in ("section2_2", "section2_3"):
        assert model_types(fewer, section) == list(SECTIONS[section].model_types)


def test_yaml_traps(config):
    """What YAML, and Snakemake's command line, make of timestamps and numbers."""
    trap = yaml.safe_load("timestamp: 20251024_143022")
    assert trap["timestamp"] == 20251024143022
    assert check(merge(config, trap))["timestamp"] == "20251024_143022"
    trap = yaml.safe_load("optimizers: {adam: {lr: 1e-3}}")
    assert trap["optimizers"]["adam"]["lr"] == "1e-3"
    assert check(merge(config, trap))["optimizers"]["adam"]["lr"] == 1e-3
    assert check(merge(config, {"grids": {"sizes": ["3", "5"]}}))["grids"]["sizes"] == [3, 5]


def test_every_key_is_explained():
    explained = (ROOT / "config" / "README.md").read_text()

    def keys(mapping, prefix=""):
        for key, value in mapping.items():
            yield from keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]

    for key in keys(load_config()):
        assert f"| `{key}` |" in explained


@pytest.mark.parametrize("text", ["- a", "a: [", "3"])
def test_a_file_that_is_no_configuration(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_config(tmp_path / "none.yaml")


def test_a_training_depends_on_its_own_settings_only(config):
    settings = training_settings(config, "section2_1", "adam", 1)
    assert settings.problem == "poisson_2d_poly"
    assert as_dict(settings.optimizer) == {"name": "adam", **config["optimizers"]["adam"]}
    other = merge(config, {"optimizers": {"lm": {"attempts": 3}}, "epochs": 7, "timestamp": "new"})
    assert training_settings(other, "section2_1", "adam", 1) == settings
    assert training_settings(merge(config, {"seeds": [2]}), "section2_1", "adam", 1) != settings
    with pytest.raises(InputError, match="0 to 3") as error:
        training_settings(config, "section2_1", "adam", 4)
    assert (error.value.where, error.value.found) == ("dataset", "4")


def test_the_settings_of_other_seeds_differ_in_the_seed_only(config):
    several, other = merge(config, {"seeds": [1, 2]}), merge(config, {"seeds": [2]})
    which = "section2_2", "baseline", 1
    assert training_settings(config, *which).seed == 1
    assert training_settings(several, *which) == training_settings(config, *which)
    assert training_settings(several, *which, 2) == training_settings(other, *which)
    assert training_settings(several, *which, 2) == replace(training_settings(config, *which), seed=2)
    for of in (merge_settings, control_settings):
        assert of(several, 0) == of(config, 0)
        assert of(several, 0, 2) == replace(of(config, 0), seed=2) == of(other, 0)


DIGESTS = {  # of results that are stored: an update must not change them
    "config.yaml": {
        "adam": "71e266f45700caa3",
        "lbfgs": "765b393b1e902bd7",
        "lm": "60fef96c0df49c3f",
        "adaptive_only": "19e8533079a077cf",
        "expert": "68aed06881790f6e",
        "merge": "2a83a60f2d96166b",
        "control": "228504bce20b7f5f",
    },
    "smoke.yaml": {
        "adam": "a49b47a0db41bb3b",
        "lbfgs": "c6c4a8da91985ea1",
        "lm": "1061e46fba95742f",
        "adaptive_only": "f225a369a7e48513",
        "expert": "6ef5d4d407b7a951",
        "merge": "443ae6f6013dc4fa",
        "control": "a4600bc75cf5ea63",
    },
}


def all_kinds(config):
    """The settings of one training of every kind."""
    return {
        "adam": training_settings(config, "section2_1", "adam", 1),
        "lbfgs": training_settings(config, "section2_1", "lbfgs", 0, 7),
        "lm": training_settings(config, "section2_1", "lm", 0),
        "adaptive_only": training_settings(config, "section2_2", "adaptive_only", 0),
        "expert": expert_settings(config, 0, 2, 3, 5),
        "merge": merge_settings(config, 1),
        "control": control_settings(config, 0, 3),
    }


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digests_of_trainings_are_those_of_stored_results(name):
    config = load_config(ROOT / "config" / name)
    assert {kind: digest(settings) for kind, settings in all_kinds(config).items()} == DIGESTS[name]
    one = merge(config, {"optimizers": {"adam": {"lr": 1}}})  # not 1.0
    assert '"lr":1,' in canonical_json(training_settings(one, "section2_1", "adam", 1))


def test_a_configuration_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=lambda: (tmp_path / "pipe").write_text("epochs: 7"))
    writer.start()
    assert load_config(tmp_path / "pipe")["epochs"] == 7
    writer.join()


def test_settings_of_an_unknown_problem_and_of_no_text_are_refused(config):
    settings = as_dict(training_settings(config, "section2_1", "lm", 0))
    with pytest.raises(InputError) as error:
        make_settings(TrainingSettings, settings | {"problem": "nope"})
    assert (error.value.where, error.value.found) == ("problem", "'nope'")
    with pytest.raises(InputError, match="UTF-8"):
        make_settings(TrainingSettings, '{"\udcff": 1}')


def test_settings_survive_a_round_trip_through_json(config):
    for settings in all_kinds(merge(config, {"merge_kan": {"intermediate_models": [4, 2]}})).values():
        assert make_settings(type(settings), canonical_json(settings)) == settings
        assert digest(as_dict(settings)) == digest(settings)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"data": {"seed": 0}}, "settings.data"),
        ({"seed": "one"}, "settings.seed"),
        ({"optimizer": {"name": "sgd"}}, "settings.optimizer.name"),
        ({"epochs": 3}, "settings"),
    ],
)
def test_wrong_settings_name_the_key(config, change, key):
    content = as_dict(training_settings(config, "section2_1", "adam", 0)) | change
    for given in (content, json.dumps(content)):
        with pytest.raises(InputError) as error:
            make_settings(TrainingSettings, given)
        assert error.value.where == key


def test_digest_and_json_do_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a":{"c":3,"d":2},"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 1, "b": 2})


def test_the_conda_environment_has_the_versions_of_the_constraints():
    def pins(lines):
        return {name.lower(): version for name, _, version in (line.strip(" -").partition("==") for line in lines)}

    constraints = pins((ROOT / "envs" / "constraints.txt").read_text().splitlines())
    conda = yaml.safe_load((ROOT / "envs" / "kanbench.yaml").read_text())["dependencies"][-1]["pip"]
    assert pins(conda).items() <= constraints.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {requirement.name: requirement for requirement in map(Requirement, project["dependencies"])}
    assert len(declared) > 10
    assert declared.keys() == pins(conda).keys()
    assert all(version in declared[name].specifier for name, version in pins(conda).items())


@pytest.mark.parametrize("null", ["variant=null", "variant=NULL", "table=null"])
def test_null_on_the_command_line_is_none(null):
    """Snakemake takes it for text."""
    given = parse_config([null])
    assert all(isinstance(value, str) for value in given.values())
    assert check(merge(load_config(), given)) == load_config()
