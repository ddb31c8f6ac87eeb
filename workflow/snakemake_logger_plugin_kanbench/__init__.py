"""The plugin of `snakemake --logger kanbench`, which Snakemake finds by this package's name.

It passes messages to `kanbench.cli.progress`, which shows a run's progress.
"""

from __future__ import annotations

import sys
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase

from kanbench.cli.progress import Display


class LogHandler(LogHandlerBase):
    """Shows a run's progress instead of Snakemake's messages, unless options ask for those."""

    writes_to_file = False
    has_filter = False  # uses Snakemake's own, which handles --quiet
    has_formatter = False  # uses Snakemake's own for messages that are shown unchanged
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._is_wanted = not (settings.dryrun or settings.verbose or settings.debug_dag or settings.printshellcmds)
        self._display = Display(sys.stderr, self.lock)

    @property
    def writes_to_stream(self) -> bool:
        """Whether this handler writes; if not, Snakemake shows its messages itself."""
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
