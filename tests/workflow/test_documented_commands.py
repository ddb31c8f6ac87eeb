"""Every command in the documents: run on small results, or as a dry run, or at least its arguments read."""

import re
import shutil

import pandas as pd
import pytest
import yaml

from kanbench.cli.main import _parser, main
from kanbench.plan.config import ROOT
from support import lm_profile
from support.documents import blocks_of, commands
from support.pipelines import forked, run

pytestmark = pytest.mark.slow

COMMANDS = commands()
NOT_RUN = {  # the first words of commands: why they are not even tried here
    "pip": "takes packages from a network; tests/test_wheel.py builds and installs one",
    "source": "changes the shell that it is typed into",
    "snakemake --sdm conda": "needs conda",
    "snakemake --archive": "needs conda",
    "snakemake --report": "needs a finished run of the pipeline; tests/workflow/test_workflow.py does it",
    "python tests/support/kernel_profile.py": "measures for a minute",
    "python tests/support/lm_profile.py": "measures for half a minute",
    ".ci/run": "runs all tests",
}
# Subcommands that take long, or need other results: only their arguments are read.
READ = ("train", "sweep", "benchmark", "compile", "migrate --for-original")
RUN = "results/sec1_results/section2_1_20260101_000000_e2"  # what there is of the results that documents name
SMALL = {
    r"(?<=_000000)_e10": "_e2",
    r"^section2_1_(highd\w+|multilevel|initialization)$": "section2_1",
    "^RUN$": RUN,
    "^SECTION$": "section2_1",
    "^FOLDER$": "results",
    "^FILE$": "workflow/docs/findings.md",
    r"^(CORES=)?N$": r"\g<1>2",
    "{…}": "{}",
}


def reason(command):
    """The entry of `NOT_RUN` that a command falls under, if any."""
    return next((words for words in NOT_RUN if f"{' '.join(command)} ".startswith(f"{words} ")), None)


def small(command):
    for pattern, there in SMALL.items():
        command = tuple(re.sub(pattern, there, word) for word in command)
    return command


def chosen(*program):
    """The commands of a program that are tried, as they are given to it."""
    ours = [command for command in COMMANDS if command[: len(program)] == program and not reason(command)]
    return list(dict.fromkeys(map(small, ours)))


@pytest.fixture(scope="module")
def folder(tiny_results, tmp_path_factory):
    """The repository's folder as a user has it, with small results and with the files that documents name."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(tiny_results, folder / "results")
    shutil.copytree(ROOT / "workflow" / "docs", folder / "workflow" / "docs")  # documents are written to
    for path in (ROOT / "Snakefile", ROOT / "config", *(ROOT / "workflow").iterdir()):
        if path.name != "docs":
            (folder / path.relative_to(ROOT)).symlink_to(path)
    configuration = ROOT / "config" / "README.md"
    functions = [block for path in (ROOT / "README.md", configuration) for block in blocks_of(path, "python")]
    (folder / "mine.py").write_text("\n".join(block for block in functions if "@problem" in block))
    [table] = (block for block in blocks_of(configuration, "yaml") if "mine.yaml" in block)
    (folder / "mine.yaml").write_text(table)
    (folder / "my.yaml").write_text("epochs: 3\n")
    (folder / "many.yaml").write_text(yaml.safe_dump({"experts": {"seeds": list(range(1, 101)), "epochs": 10}}))
    columns = ("a", "b", "y", "temperature", "pressure", "density")
    rows = pd.DataFrame({name: [(i * (7 + j)) % 50 / 50 for i in range(50)] for j, name in enumerate(columns)})
    rows.to_csv(folder / "measurements.csv", index=False)
    return folder


def test_commands_that_are_not_run_are_there_and_nothing_is_left():
    assert set(filter(None, map(reason, COMMANDS))) == set(NOT_RUN)
    programs = ("snakemake",), ("python", "-m", "kanbench"), ("make",)
    assert all(reason(command) or command[:1] in programs or command[:3] in programs for command in COMMANDS)


def test_the_profile_of_lm_steps_in_small(monkeypatch, capsys):
    """What `NOT_RUN` leaves out is measured for one model, once."""
    for name, few in {"MODELS": [((2, 5, 1), 3)], "UNKNOWNS": (16,), "REPETITIONS": 1, "MEASUREMENTS": 1}.items():
        monkeypatch.setattr(lm_profile, name, few)
    lm_profile.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\| +(\[2, 5, 1\]|16) ", line)]
    assert len(rows) == 2 and "%" in rows[0] and rows[1].count("%") == 2


def test_dry_runs_of_snakemake_succeed(folder):
    planned = [["--dry-run", "--quiet", "all", "--cores", "2", *command[1:]] for command in chosen("snakemake")]
    answers = [forked(["snakemake", *argv], folder) for argv in planned]
    failed = {" ".join(result.args): (result.stdout + result.stderr)[-1000:] for result in answers if result.returncode}
    assert not failed
    assert len(answers) > 20


@pytest.mark.parametrize("command", chosen("python", "-m", "kanbench"), ids=" ".join)
def test_subcommands_run(command, folder, monkeypatch):
    arguments = command[3:]
    monkeypatch.chdir(folder)
    try:
        if " ".join(arguments).startswith(READ):
            _parser().parse_args(arguments)
        else:
            assert main(arguments) == 0
    except SystemExit as end:  # --help
        assert end.code == 0


@pytest.mark.parametrize("command", chosen("make"), ids=" ".join)
def test_targets_of_make_are_there(command):
    result = run([*command, "--dry-run"], ROOT)
    assert result.returncode == 0, result.stderr
