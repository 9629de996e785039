"""JSON lines on stderr: one for each call, one for each event that an operator acts on."""

import json
import logging
import sys
from datetime import UTC, datetime

from proxy.config.load import Loaded
from proxy.records import CallRecord

log = logging.getLogger("holdfast.call")
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
        return json.dumps(line, default=str, ensure_ascii=False)


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
    _log.info("ready", extra={"port": port, "admin_port": admin_port, "store": store_url})


def log_warnings(policy: Loaded) -> None:
    """What is doubtful about a policy that was taken."""
    for warning in policy.warnings:
        _log.warning("policy warning", extra={"problem": str(warning)})


def log_call(call: CallRecord) -> None:
    """The line of one call."""
    if not log.isEnabledFor(logging.INFO):
        return
    usage = call.usage
    fields: dict[str, object] = {
        "request_id": call.request_id,
        "endpoint": call.dialect,
        "status": call.status,
        "decision": call.decision,
        "reason": call.reason,
        "session": call.session,
        "tenant": call.tenant,
        "agent": call.agent,
        "step": call.step,
        "upstream": call.upstream,
        "model": call.model,
        "stream": call.stream,
        "outcome": call.outcome,
        "cost_usd": call.cost_micro_usd / 1_000_000,
        "input_tokens": usage.total_input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "tools": list(call.tool_calls),
        "duration_seconds": call.duration_seconds,
        "first_byte_seconds": call.first_byte_seconds,
    }
    kept = {name: value for name, value in fields.items() if value not in (None, "", [])}
    log.info("call", extra=kept)
