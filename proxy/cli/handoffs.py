"""`holdfast handoffs`: what stands before a human, from a shell."""

import argparse
from urllib.parse import quote

from proxy.admin.shapes import Json
from proxy.cli import admin_client
from proxy.cli.admin_client import AdminClient
from proxy.cli.tables import plain, table

_COLUMNS = ("session", "agent", "waits", "age", "reason", "steps", "cost_usd")
_ARGUMENTS = 200
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", help="only this tenant's")
    parser.add_argument("--limit", type=int, default=100)
    admin_client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """A table, and how to answer each; see `admin_client.run`."""
    return admin_client.run(args, _list, lambda answer: print(_human(answer)))


def _list(client: AdminClient, args: argparse.Namespace) -> dict[str, Json]:
    tenant = f"&tenant={quote(args.tenant, safe='')}" if args.tenant else ""
    return client.call("GET", f"/api/v1/handoffs?limit={args.limit}{tenant}")


def _human(answer: dict[str, Json]) -> str:
    found = answer["handoffs"]
    assert isinstance(found, list)
    handoffs = [handoff for handoff in found if isinstance(handoff, dict)]
    if not handoffs:
        return "Nothing stands before a human."
    rows = [[_cell(handoff, name) for name in _COLUMNS] for handoff in handoffs]
    return "\n\n".join((table(_COLUMNS, rows), *map(_told, handoffs)))


def _cell(handoff: dict[str, Json], name: str) -> Json:
    match name:
        case "waits":
            return "yes" if handoff["blocking"] else "no"
        case "age":
            return _age(handoff["age_seconds"])
        case "reason":
            return handoff["limit"] or handoff["code"]
        case _:
            return handoff[name]


def _age(seconds: Json) -> str:
    assert isinstance(seconds, int | float)
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _told(handoff: dict[str, Json]) -> str:
    """What has happened, with the call that waits. What a model wrote is shown escaped: it could
    move the cursor."""
    message = handoff["message"]
    assert isinstance(message, str)
    lines = [plain(message)]
    if isinstance(call := handoff["tool_call"], dict):
        arguments = str(call["arguments"])[:_ARGUMENTS]
        name = call["id"] if str(call["id"]).isprintable() else handoff["handoff"]
        lines.append(f"  {plain(str(call['tool']))}({plain(arguments)})  {name}")
    return "\n".join(lines)
