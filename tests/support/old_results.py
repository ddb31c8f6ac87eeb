"""Results that the original study's own scripts wrote: they are no part of the project, and may not be there."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).parents[2].parent / "shared/data/old-results"


def runs_folder():
    """The folder of them, `OLD_RESULTS` or `shared/data/old-results` beside the project; skips where there is none."""
    folder = Path(os.environ.get("OLD_RESULTS", BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no results of the original study in {folder} (OLD_RESULTS)")
    return folder
