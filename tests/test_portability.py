"""Reading and writing results on systems without what only Unix has, and where text is not UTF-8 by default."""

import ast
import json
import os
import subprocess
import sys

import pytest
import yaml

from kanbench.plan.config import PACKAGE, ROOT
from support.planted import POLY, SIN, store
from support.planted import run as planted
from support.windows import PRETENDED

NO_PATHS = ("os", "Image", "self", "cache")  # whose `open` is another
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def run(folder, *words, **environment):
    """What another process answers, whose text is taken for UTF-8."""
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def text_in_no_encoding(source):
    """The calls in a module that read or write text in an encoding that they do not name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(ast.Attribute(ast.Name(owner), "open")) if owner in NO_PATHS:
                continue
            case ast.Call(ast.Attribute(_, "open" | "read_text" | "write_text") | ast.Name("open"), given, more):
                modes = [part.value for part in given if isinstance(part, ast.Constant)]
                if "encoding" not in [word.arg for word in more] and not any("b" in mode for mode in modes):
                    yield ast.unparse(node)


def test_text_is_read_and_written_as_utf_8():
    code = "Path(x).read_text(), file.write_text(text), file.open('a'), file.open(), open(path, 'w'), open(path)"
    assert len([*text_in_no_encoding(code)]) == 6
    code = "file.read_text(encoding='utf-8'), file.open('rb'), open(path, 'rb'), os.open(path, os.O_RDONLY)"
    assert [*text_in_no_encoding(code)] == []
    sources = [*PACKAGE.rglob("*.py")]
    assert len(sources) > 100
    assert [call for path in sources for call in text_in_no_encoding(path.read_text(encoding="utf-8"))] == []


IMPORTS = """
import json, sys
from pathlib import Path
import pandas as pd
import kanbench
import kanbench.analysis.statements, kanbench.io.kernel_cache, kanbench.plan.config
import kanbench.presentation.tables.findings
from kanbench import find_run, list_runs, load_checkpoint_metadata, load_run, save_run
from kanbench.cli.main import main
assert not {"fcntl", "resource"} & {name for name, module in sys.modules.items() if module}
"""
USE = """
there, new = sys.argv[1:]
sections = [run.section for run in list_runs(results_dir=there)]
for section in sections:
    results, meta = load_run(section, results_dir=there)
    checkpoints = load_checkpoint_metadata(section, results_dir=there)
    epochs = find_run(section, results_dir=there).epochs
    save_run(results, section, checkpoints=checkpoints, timestamp=meta["timestamp"], results_dir=new)
    assert find_run(section, results_dir=new).epochs == epochs
    again, meta_again = load_run(section, results_dir=new)
    assert (meta, list(results)) == (meta_again, list(again))
    for name, frame in results.items():
        pd.testing.assert_frame_equal(frame, again[name])
    assert load_checkpoint_metadata(section, results_dir=new) == checkpoints
    assert main(["tables", section, "--results-dir", new]) == 0
assert main(["summary", "--results-dir", new]) == 0
print(json.dumps(sections))
"""


def test_the_package_is_imported_without_what_only_unix_has(tmp_path):
    assert run(tmp_path, "-c", PRETENDED + IMPORTS) == ""


@pytest.mark.slow
def test_results_are_read_and_written_without_what_only_unix_has(tiny_results, tmp_path):
    new = tmp_path / "new"
    said = run(tmp_path, "-c", PRETENDED + IMPORTS + USE, tiny_results, new)
    assert json.loads(said.splitlines()[-1]) == ["section2_1", "section2_2", "section2_3"]
    tables, files = names(new / "tables"), {name for name in names(new) if not name.startswith("tables/")}
    assert len(tables) == 3 * 2 * 4
    kept = {name for name in names(tiny_results) if name.startswith("sec")}
    assert files == {name for name in kept if name.endswith((".pkl", ".parquet"))}


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_configuration_is_read_as_utf_8(tmp_path):
    assert run(tmp_path, "-c", "import locale; print(locale.getpreferredencoding(False))", **ASCII) != "UTF-8\n"
    config = "# Größe, Ångström, 数\n" + yaml.safe_dump({"variant": "small"})
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    code = "import kanbench.plan.config as c; print(c.load_config('config.yaml')['variant'])"
    assert run(tmp_path, "-c", code, **ASCII) == "small\n"


@pytest.mark.slow
def test_text_has_one_encoding_whatever_the_locale_is(tiny_results, tmp_path):
    """What is written has the same bytes; what cannot be printed is printed as an escape."""
    where = "--results-dir", tiny_results
    for folder, environment in (("ascii", ASCII), ("utf-8", {"PYTHONUTF8": "1"})):
        run(tmp_path, "-m", "kanbench", "tables", "section2_1", *where, "--output", folder, **environment)
        run(tmp_path, "-m", "kanbench", "report", "section2_1", *where, "--output", f"{folder}/page", **environment)
    ours, others = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("ascii", "utf-8"))
    assert ours == others
    assert len(ours) == 9
    assert not ours["page"].isascii()

    lacking = tmp_path / "lacking"  # an error that is not there is a dash
    store(planted({"adam": {SIN: 1.0, POLY: 1.0}, "lbfgs": {SIN: 0.5, POLY: float("nan")}}), lacking)
    where = "--results-dir", lacking
    summary = run(tmp_path, "-m", "kanbench", "summary", *where, PYTHONUTF8="1")
    escaped = summary.encode("ascii", "backslashreplace").decode()
    assert escaped != summary
    assert run(tmp_path, "-m", "kanbench", "summary", *where, **ASCII) == escaped


def test_line_ends_are_those_of_unix_where_git_would_write_those_of_windows(tmp_path):
    """Or scripts do not run, and what is read has another digest."""
    scripts = [*(ROOT / "workflow" / "profiles" / "pbs").glob("*.sh")]
    data = [path for path in (ROOT / "tests" / "support" / "data").rglob("*") if path.is_file()]
    files = [ROOT / "Snakefile", *scripts, *data]
    for path in [ROOT / ".gitattributes", *files]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    windows = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "-c", "core.safecrlf=false"]
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run([*windows, *words], cwd=tmp_path, check=True)
    for path in files:
        (tmp_path / path.name).unlink()
    subprocess.run([*windows, "checkout", "--", "."], cwd=tmp_path, check=True)
    assert {path.name: (tmp_path / path.name).read_bytes() for path in files} == {p.name: p.read_bytes() for p in files}
