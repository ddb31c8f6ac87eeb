"""Words and phrases that must not come back, in what people read and in names: the field has a term for each.

Left out, because they are right elsewhere: `push` and `pull` (a stack, git), `preserve` (a grid policy of the
configuration), `via` (columns of stored frames), `block`, `leaving`, `reach`, `against`, `listed`, `place`, `sure`.
"""

import re

import pytest

from kanbench.plan.config import RENAMED, ROOT

INSTEAD = {  # a pattern, in which a space stands for any white space and for the # of a comment
    r"whole_file|one_at_a_time": "atomic_write, folder_lock",
    r"hand(s|ed|ing)?( |-)?(on|over)": "training record; identity edge; pass",
    r"goes on|go on|going on|went on": "continue, resume, run",
    r"(a|the) training leaves|leaves? behind": "the result of one training",
    r"by_?importance": "AttributionRefinement",
    r"kernel( |_)matrix": "dual Gram matrix",
    r"pieces?": "knot span",
    r"poison(s|ed)?": "nan_if_nonfinite",
    r"excess": "curvature_ratio",
    r"numbers_of": "statement_numbers",
    r"left_?out_?error": "FigureUnavailable",
    r"epochless": "WITHOUT_EPOCHS",
    r"other_frames": "frame_names",
    r"on (its|their) way through": "through",
    r"in the way": "already exists with different data; move it first",
    r"comes? back as": "does not survive a write/read round trip",
    r"but \S+ is right": "epochs=5 conflicts with the file name; using 10",
    r"other files are read|may run code": "pass trusted=True to load it (may execute code)",
    r"(every|each) (\w+ )?once|are there twice|names? twice": "no duplicates; unique",
    r"a whole number": "an integer",
    r"from \d on": "at least",
    r"too much nothing|nothing too much": "missing: X",
    r"say of a|make what is allowed": "reject unknown targets, listing valid ones",
    r"than it should|where an? \w+ belongs": "checksum mismatch; instead of",
    r"(?<!one\s)of (numpy|pykan|pyarrow|kanbench)'s(?!\s+[\w`])": "numpy scalars, a pykan KAN",
}
TEXT = {".py", ".smk", ".yaml", ".yml", ".toml", ".md", ".rst", ".jinja", ".css", ".js", ".sh", ""}
FILES = sorted(
    path
    for pattern in ("workflow/**/*", "config/**/*", "results/README.md", "*")
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix in TEXT and not path.name.startswith(".")
)
OLD_KEYS = {"workflow/kanbench/plan/config.py", "CHANGELOG.md"}  # which say what the new ones are
LAST_CELL = re.compile(r"\|[^|\n]*\|$", re.MULTILINE)  # of the table in the style guide: what not to say


def relative(path):
    return path.relative_to(ROOT).as_posix()


def compiled(pattern):
    """For whole words, which may be parts of names; a phrase may go on in the next line of a comment."""
    words = pattern.replace(" ", r"[\s#]+")
    return re.compile(rf"(?<![^\W_])({words})(?![^\W_])", re.IGNORECASE)


PATTERNS = {compiled(pattern): better for pattern, better in INSTEAD.items()}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_word_comes_back(path):
    text = path.read_text(encoding="utf-8")
    if relative(path) == "workflow/README.md":
        text = LAST_CELL.sub("|", text)
    assert {found[0]: better for pattern, better in PATTERNS.items() for found in pattern.finditer(text)} == {}
    if relative(path) not in OLD_KEYS:
        assert [key for key in RENAMED if re.search(rf"\b{re.escape(key)}\b", text)] == []


def test_words_are_found_across_lines_and_in_names():
    assert compiled("goes on").search("a comment that goes\n    # on")
    assert compiled("pieces?").search("def knot_pieces():")
    assert not compiled("pieces?").search("masterpieces")
