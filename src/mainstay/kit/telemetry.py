"""Logs: one line an event, as text or JSON, with what identifies a request; never a prompt, never a secret."""

import logging
import sys
import time
from typing import TextIO

import msgspec

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_STANDARD = frozenset(vars(logging.makeLogRecord({})))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line: dict[str, object] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "message"}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """A line for people; control characters in messages are escaped, so that nobody can forge a second line."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "message"}
        told = " ".join(f"{key}={value}" for key, value in extra.items())
        text = f"{record.getMessage()} {told}".rstrip().translate(_CONTROLS)
        line = f"{_timestamp(record.created)} {record.levelname.lower():7} {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure_logging(*, level: str, style: str, stream: TextIO | None = None) -> None:
    """Send the log to `stream` (stderr) in `style`: "text" or "json"."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for talkative in ("alembic", "aiosqlite", "asyncio"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _timestamp(seconds: float) -> str:
    milliseconds = int(seconds * 1000) % 1000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"
