"""JSON lines on stderr: one for each call, one for each event that an operator acts on."""

import json
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial

from proxy.config.load import Loaded
from proxy.stores.redis_url import shown_url

_log = logging.getLogger(__name__)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; whatever was given as `extra` becomes a field."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False, separators=(",", ":"))


def configure(level: str = "INFO", worker: int | None = None) -> None:
    """Sends every log of the process to stderr as JSON. worker: which of several it is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    if worker is not None:
        handler.addFilter(lambda record: vars(record).setdefault("worker", worker) is not None)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


def log_ready(port: int, admin_port: int, store_url: str) -> None:
    """Calls are served from now on, and where."""
    _log.info(
        "ready", extra={"port": port, "admin_port": admin_port, "store": shown_url(store_url)}
    )


def log_warnings(policy: Loaded) -> None:
    """What is doubtful about a policy that was taken."""
    for warning in policy.warnings:
        _log.warning("policy warning", extra={"problem": str(warning)})


def line_writer() -> Callable[[bytes], object] | None:
    """Where whole lines go that are of this form already; None where nothing is configured."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            return partial(_write, handler)
    return None


def _write(handler: logging.Handler, lines: bytes) -> None:
    assert isinstance(handler, logging.StreamHandler)
    with handler.lock or nullcontext():
        handler.stream.write(lines.decode())
        handler.stream.flush()
