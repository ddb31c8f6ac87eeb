"""Where the results lie that the original study's own scripts wrote."""

from pathlib import Path

WHERE = Path("shared", "data", "old-results")


def runs_folder() -> Path:
    """Beside the repository, or further up; it need not be there. Read only."""
    found = (folder / WHERE for folder in Path(__file__).parents)
    return next((folder for folder in found if folder.is_dir()), Path(__file__).parents[2].parent / WHERE)
