"""What tools and registries read of the repository: citation, catalog of workflows, packaging, container."""

import re
import tomllib

import pytest
import yaml
from trove_classifiers import classifiers

from kanbench import __version__
from kanbench.plan.config import ROOT

# The folders and documents that people use, and what tools look for at the top and nowhere else.
TOP = {"Snakefile", "workflow", "config", "envs", "results", "tests", "README.md"} | {
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile", "pyproject.toml"),
    *(".ci", ".dockerignore", ".gitattributes", ".github", ".gitignore", ".snakemake-workflow-catalog.yml"),
}
MADE = re.compile(r"\.git|\.venv|\.snakemake|\.\w+_cache|\.hypothesis|shared|.*\.egg-info|__pycache__")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_top_folder_is_tidy():
    assert {path.name for path in ROOT.iterdir() if not MADE.fullmatch(path.name)} == TOP


def test_the_citation_is_of_this_version():
    citation = read_yaml("CITATION.cff")
    # those that the Citation File Format 1.2.0 requires, and the licence
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["license"]
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_classifiers_exist_and_agree_with_the_rest():
    assert set(PROJECT["classifiers"]) <= classifiers
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["classifiers"]
    for name in (".github/workflows/ci.yml", "Dockerfile"):
        assert f"python:{oldest}-" in (ROOT / name).read_text(encoding="utf-8")


def test_the_catalog_finds_what_its_standardized_usage_asks_for():
    usage = read_yaml(".snakemake-workflow-catalog.yml")["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["software-stack-deployment"]["conda"] is True
    assert (ROOT / "workflow" / "Snakefile").is_file() and (ROOT / "config" / "README.md").is_file()
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme and "workflow" in readme


def test_github_runs_what_everybody_runs():
    [job] = read_yaml(".github/workflows/ci.yml")["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}


@pytest.mark.parametrize("line", (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines())
def test_the_image_has_what_is_sent_to_it(line):
    if line.startswith("COPY "):
        *sources, _ = line.split()[1:]
        sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        assert all((ROOT / source).exists() and f"!{source}" in sent for source in sources)
