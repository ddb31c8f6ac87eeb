"""Where results lie that the original study's own scripts wrote: they are no part of the project. Read only."""

import os
from pathlib import Path

WHERE = Path("shared", "data", "old-results")


def runs_folder() -> Path:
    """The folder `OLD_RESULTS`, or one beside the repository or further up; it need not be there."""
    if "OLD_RESULTS" in os.environ:
        return Path(os.environ["OLD_RESULTS"])
    found = (folder / WHERE for folder in Path(__file__).parents)
    return next((folder for folder in found if folder.is_dir()), Path(__file__).parents[2].parent / WHERE)
