"""The repository's documents, their blocks of code and the commands that they name."""

import re
import shlex

from kanbench.plan.config import ROOT

TEXTS = ("config", "workflow")  # the folders with documents
DOCUMENTS = sorted(  # not what is made in results
    {*ROOT.glob("*.md"), ROOT / "results" / "README.md"}.union(*((ROOT / top).rglob("*.md") for top in TEXTS))
)
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SHELLS = ("bash", "sh", "console")
INLINE = ("snakemake ", "python -m kanbench ", "make ")  # what a line in a text begins with, if it is a command


def read(path):
    return path.read_text(encoding="utf-8")


def relative(path):
    return path.relative_to(ROOT).as_posix()


def prose(path):
    """A document without its blocks of code."""
    return FENCED.sub("", read(path))


def blocks_of(path, *languages):
    return [block for language, block in FENCED.findall(read(path)) if language in languages]


def commands():
    """What the documents tell to type, in blocks and in lines: `{command as a tuple of words: document}`."""
    found = {}
    for path in DOCUMENTS:
        lines = [line for block in blocks_of(path, *SHELLS) for line in block.replace("\\\n", " ").splitlines()]
        inline = [text.replace("\n", " ") for text in re.findall(r"`([^`]+)`", prose(path))]
        lines += [text for text in inline if text.startswith(INLINE)]
        for line in lines:
            if words := tuple(shlex.split(line, comments=True)):
                found.setdefault(words, relative(path))
    return found
