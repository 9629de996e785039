"""`holdfast sessions`: the admin API from a shell."""

import argparse
import json
import sys
from urllib.parse import quote, urlencode

from proxy.admin.shapes import STATES, Json
from proxy.cli import admin_client, session_records
from proxy.cli.admin_client import AdminClient, AdminError
from proxy.cli.session_text import checkpoint_text, difference_text
from proxy.cli.tables import table
from proxy.core.limits.registry import EXTENDABLE_COUNTS, EXTENDABLE_MONEY

_COLUMNS = ("session", "agent", "state", "steps", "tokens", "cost_usd", "held_usd", "updated_at")
_FILTERS = ("state", "agent", "tenant", "limit", "cursor")
_SAME_ID = "needed only where several tenants use the id"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="sessions, newest first")
    listing.add_argument("--state", metavar="STATE", help="one of " + ", ".join(STATES))
    listing.add_argument("--agent", help="only those of this agent")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="up to 1000 (100)")
    listing.add_argument("--cursor", help="go on with the next page, as the last one's end says")
    summaries = {
        "show": "one session",
        "events": "its log",
        "kill": "cut its streams and refuse the rest",
        "pause": "refuse its calls until it is resumed",
        "resume": "end a pause",
        "extend": "add to its limits; if it waits at one, it goes on",
        "guide": "put a message before its next step; if it waits, it goes on",
        "approve": "let a held tool call through",
        "deny": "refuse a held tool call; the model is told so",
        **session_records.ACTIONS,
    }
    for name, summary in summaries.items():
        action = actions.add_parser(name, help=summary)
        action.add_argument("session", metavar="ID")
        if name == "extend":
            _extend_arguments(action)
        elif name == "guide":
            action.add_argument("message", metavar="MESSAGE")
        elif name in ("approve", "deny"):
            action.add_argument("tool_call_id", metavar="TOOL_CALL_ID")
        if name == "deny":
            action.add_argument("--message", default="", help="what the model is told beside it")
        session_records.add_arguments(name, action)
    session_records.add_import_arguments(
        actions.add_parser("import", help="take in a session that another ledger exported")
    )
    for action in actions.choices.values():
        used = "only those of this tenant" if action is listing else _SAME_ID
        action.add_argument("--tenant", help=used)
        admin_client.add_arguments(action)


def _extend_arguments(action: argparse.ArgumentParser) -> None:
    for name in EXTENDABLE_COUNTS:
        action.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    for name in EXTENDABLE_MONEY:
        action.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="USD")
    action.add_argument("--per-tool", action="append", default=[], metavar="GLOB=N")


def run(args: argparse.Namespace) -> int:
    """See `admin_client.run`."""
    return admin_client.run(args, _act, lambda answer: _show(args.action, answer))


def _act(client: AdminClient, args: argparse.Namespace) -> dict[str, Json] | None:
    """None where it has printed what there is."""
    if args.action == "list":
        return _list(client, args)
    if args.action == "import":
        return session_records.take_in(client, args)
    path = f"/api/v1/sessions/{quote(args.session, safe='')}"
    if args.action in session_records.ACTIONS:
        return session_records.act(client, path, args)
    if args.action == "show" and (args.step is not None or args.raw or args.next):
        return session_records.checkpoint(client, path, args)
    return _one(client, path, args)


def _list(client: AdminClient, args: argparse.Namespace) -> dict[str, Json]:
    filters = {name: getattr(args, name) for name in _FILTERS}
    query = urlencode({name: value for name, value in filters.items() if value is not None})
    return client.call("GET", f"/api/v1/sessions?{query}")


def _one(client: AdminClient, path: str, args: argparse.Namespace) -> dict[str, Json]:
    tenant = f"?tenant={quote(args.tenant, safe='')}" if args.tenant else ""
    if args.action == "show":
        return client.call("GET", path + tenant)
    if args.action == "events":
        return client.call("GET", f"{path}/events{tenant}")
    return client.call("POST", f"{path}/{args.action}{tenant}", _body(args))


def _body(args: argparse.Namespace) -> dict[str, Json] | None:
    match args.action:
        case "extend":
            return _amounts(args)
        case "guide":
            return {"message": args.message}
        case "approve":
            return {"tool_call_id": args.tool_call_id}
        case "resume":
            return {"replay": True} if args.replay else None
        case "deny":
            return {"tool_call_id": args.tool_call_id, "message": args.message}
        case _:
            return None


def _amounts(args: argparse.Namespace) -> dict[str, Json]:
    names = (*EXTENDABLE_COUNTS, *EXTENDABLE_MONEY)
    amounts: dict[str, Json] = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    for pair in args.per_tool:
        glob, _, count = pair.rpartition("=")
        if not glob or not count.isdigit():
            raise AdminError(f"--per-tool: {pair!r} is not GLOB=N")
        amounts[f"per_tool.{glob}"] = int(count)
    return amounts


def _show(action: str, answer: dict[str, Json]) -> None:
    print(_human(action, answer))
    if cursor := answer.get("next_cursor"):
        print(f"there are more: --cursor {cursor}", file=sys.stderr)


def _human(action: str, answer: dict[str, Json]) -> str:
    if action == "list":
        rows = answer["sessions"]
        assert isinstance(rows, list)
        columns: tuple[str, ...] = _COLUMNS
        if len({str(_cell(row, "tenant")) for row in rows}) > 1:
            columns = ("session", "tenant", *_COLUMNS[1:])
        return table(columns, [[_cell(row, name) for name in columns] for row in rows])
    if action == "events":
        events = answer["events"]
        assert isinstance(events, list)
        return "\n".join(json.dumps(event) for event in events)
    if action == "diff":
        return difference_text(answer)
    if "checkpoint" in answer:
        return checkpoint_text(answer)
    taken = answer.get("imported")
    notes = taken.pop("notes", []) if isinstance(taken, dict) else []
    assert isinstance(notes, list)
    lines = [f"{name:<14} {_shown(value)}" for name, value in answer.items()]
    return "\n".join([*lines, *[f"note           {n}" for n in notes]])


def _cell(row: Json, name: str) -> Json:
    return row.get(name) if isinstance(row, dict) else None


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items() if v is not None) or "-"
    return "-" if value is None else str(value)
