"""What people, tools and registries read of the repository: documents, citation, catalog, packaging, container."""

import ast
import re
import tomllib
from importlib import import_module

import pytest
import yaml
from trove_classifiers import classifiers

from kanbench import __version__
from kanbench.plan.config import ROOT
from kanbench.plan.sections import SECTIONS, number_of
from kanbench.presentation.documents import BLOCK
from support.documents import DOCUMENTS, blocks_of, prose, read, relative
from support.readme_figure import FIGURE, FINDINGS, figure, relative_errors

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


def anchors(path):
    """The names by which GitHub links to the headings of a document."""
    made = []
    for title in re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        made.append(f"{name}-{made.count(name)}" if name in made else name)
    return made


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)]+)\)", prose(path)):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_files_and_names_in_documents_exist(path):
    words = re.findall(r"`([^`\n]+)`", prose(path))
    for word in words:
        if re.fullmatch(r"(tests|workflow|config)/[\w./-]+", word) and "WING" not in word:
            assert (ROOT / word).exists(), word
        elif found := re.match(r"kanbench((\.[a-z]\w*)+)", word):
            assert named(found[0]) is not None, word


def named(dotted):
    """What a dotted name means: a module, or something in one."""
    modules, _, attribute = dotted.rpartition(".")
    try:
        return import_module(dotted)
    except ModuleNotFoundError:
        return getattr(import_module(modules), attribute, None)


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_python_in_documents_parses_and_imports_what_is_there(path):
    for block in blocks_of(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("kanbench"):
                assert all(named(f"{node.module}.{alias.name}") is not None for alias in node.names), block


def test_the_figure_is_that_of_the_findings():
    """`python tests/support/readme_figure.py` draws it anew."""
    errors = relative_errors(FINDINGS.read_text(encoding="utf-8"))
    assert all(set(row) == {"Adam", "L-BFGS", "LM"} for row in errors.values())
    assert FIGURE.read_text(encoding="utf-8") == figure(errors)


def test_the_readme_says_what_findings_and_speed_say():
    readme, speed = (read(ROOT / name) for name in ("README.md", "workflow/docs/speed.md"))
    times = re.findall(r"(\d+) \(Levenberg-Marquardt\) to (\d+) times \(L-BFGS\)", readme)
    measured = [re.findall(rf"^\| {name} +\| all +\|.*?\| (\d+) +\|", speed, re.MULTILINE) for name in ("lm", "lbfgs")]
    assert [float(n) for n in times[0]] == pytest.approx([float(n) for [n] in measured], rel=0.1)

    found = {block[2]: block[4].strip() for block in BLOCK.finditer(read(FINDINGS)) if block[1] == "answer"}
    for section in SECTIONS:
        [answer] = re.findall(rf"^\| {number_of(section)} \|.*\| (.*?) \|$", readme, re.MULTILINE)
        first = re.match(r"\w+", re.sub(r"\[(.*?)\].*", r"\1", answer))[0]
        assert re.match(rf"\*\*{first}\b", found[section], re.IGNORECASE), found[section]
    assert "three problems of four" in readme and "lowest on 3 of 4 problems" in found["section2_1"]
