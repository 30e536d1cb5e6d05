"""Forwards the library's Python log records to a node's logger."""

from __future__ import annotations

import logging
from typing import Any

_LIBRARY = logging.getLogger('drive_segment_ros')


class LibraryLog(logging.Handler):
    """Forwards the library's records to a node's logger, so that --log-level and /rosout apply.

    With several nodes in a process, the last one created gets them.
    """

    def __init__(self, logger: Any) -> None:
        """Add this handler to the library's log.

        Args:
            logger: of the node, which drops records below its level.
        """
        super().__init__()
        self._ros = logger
        _LIBRARY.addHandler(self)
        _set_up()

    def close(self) -> None:
        """Remove this handler; records are then handled as before."""
        _LIBRARY.removeHandler(self)
        _set_up()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record at its severity."""
        if _installed()[-1] is not self:
            return
        try:
            name = record.name.rpartition('.')[2]
            text = f'{name}: {self.format(record)}'
            # rclpy allows one severity per line of code.
            if record.levelno >= logging.CRITICAL:
                self._ros.fatal(text)
            elif record.levelno >= logging.ERROR:
                self._ros.error(text)
            elif record.levelno >= logging.WARNING:
                self._ros.warning(text)
            elif record.levelno >= logging.INFO:
                self._ros.info(text)
            else:
                self._ros.debug(text)
        except Exception:
            self.handleError(record)


def _installed() -> list[LibraryLog]:
    return [handler for handler in _LIBRARY.handlers if isinstance(handler, LibraryLog)]


def _set_up() -> None:
    """Leave the filtering by level to the node's logger while there is one."""
    bridged = bool(_installed())
    _LIBRARY.setLevel(logging.DEBUG if bridged else logging.NOTSET)
    _LIBRARY.propagate = not bridged
