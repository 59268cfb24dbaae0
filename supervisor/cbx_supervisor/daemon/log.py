"""The daemon's log: one JSON object a line on stderr, by structlog, without secrets.

Importing structlog takes longer than starting the rest of the daemon, so events wait in memory until the sockets are
open and the import is done beside the first jobs. The last ones are written before the daemon ends.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from cbx_supervisor.model.redaction import redacted_values

_PENDING_MAX = 10_000


class Log:
    """Call it with an event and its fields."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[str, dict[str, Any]]] = []
        self._logger: Any = None

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event down. Never raises: what cannot be logged must not stop jobs."""
        with self._lock:
            if self._logger is None:
                if len(self._pending) < _PENDING_MAX:
                    self._pending.append((event, fields))
                return
        self._write(event, fields)

    def start(self) -> None:
        """Import structlog and write what has waited; safe in any thread, and twice."""
        import structlog  # noqa: PLC0415  # see above

        structlog.configure(
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(default=str),
            ],
            logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
            cache_logger_on_first_use=True,
        )
        with self._lock:
            self._logger = self._logger or structlog.get_logger()
            pending, self._pending = self._pending, []
        for event, fields in pending:
            self._write(event, fields)

    def _write(self, event: str, fields: dict[str, Any]) -> None:
        try:
            self._logger.info(event, **{name: redacted_values(value) for name, value in fields.items()})
            sys.stderr.flush()
        except (OSError, ValueError, TypeError):
            return
