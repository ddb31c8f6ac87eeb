"""`snakemake --logger kanbench`: Snakemake finds the plugin by the name of this package, beside `kanbench`.

What is shown, `kanbench.cli.progress` says.
"""

from __future__ import annotations

import sys
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase

from kanbench.cli.progress import Display


class LogHandler(LogHandlerBase):
    """Shows a run's progress in the place of Snakemake's messages; where those were asked for, it leaves them alone."""

    writes_to_file = False
    has_filter = False  # Snakemake gives it its own, which knows of --quiet
    has_formatter = False  # and its own words for what is passed on
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._is_wanted = not (settings.dryrun or settings.verbose or settings.debug_dag or settings.printshellcmds)
        self._display = Display(sys.stderr, self.lock)

    @property
    def writes_to_stream(self) -> bool:
        """Without it, Snakemake shows its messages itself."""
        return self._is_wanted

    def emit(self, record: LogRecord) -> None:
        if not self._is_wanted:
            return
        try:
            self._display.show(vars(record), self.format(record))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._display.close()
        super().close()
