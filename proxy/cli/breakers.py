"""`holdfast breakers`: which upstreams and models are left alone, from a shell."""

import argparse
from urllib.parse import quote, urlencode

from proxy.admin.shapes import Json
from proxy.cli import admin_client
from proxy.cli.admin_client import AdminClient, AdminError
from proxy.cli.tables import plain, table

_COLUMNS = ("breaker", "for", "state", "why", "probe_in", "calls", "failures", "slow", "openings")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", choices=("list", "open", "close"), default="list", metavar="ACTION",
        help="list (default), open or close",
    )  # fmt: skip
    parser.add_argument("target", nargs="*", metavar="UPSTREAM MODEL", help="to open or to close")
    parser.add_argument("--seconds", type=float, help="open for so long; else until it is closed")
    parser.add_argument("--state", choices=("open", "half-open", "closed"), help="list only these")
    parser.add_argument("--limit", type=int, default=100)
    admin_client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """See `admin_client.run`."""
    act = _list if args.action == "list" else _turn
    return admin_client.run(args, act, lambda answer: print(_human(args.action, answer)))


def _list(client: AdminClient, args: argparse.Namespace) -> dict[str, Json]:
    wanted = {"limit": args.limit, "state": args.state}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    return client.call("GET", f"/api/v1/breakers?{query}")


def _turn(client: AdminClient, args: argparse.Namespace) -> dict[str, Json]:
    upstream, _, model = "/".join(args.target).partition("/")
    if not upstream or not model:
        raise AdminError(f"breakers {args.action}: say which: UPSTREAM MODEL, or UPSTREAM/MODEL")
    lasts = args.action == "open" and args.seconds is not None
    body: Json = {"seconds": args.seconds} if lasts else {}
    path = f"{quote(upstream, safe='')}/{quote(model, safe='')}/{args.action}"
    return client.call("POST", f"/api/v1/breakers/{path}", body)


def _human(action: str, answer: dict[str, Json]) -> str:
    found = answer["breakers"] if action == "list" else [answer]
    assert isinstance(found, list)
    rows = [[_cell(one, name) for name in _COLUMNS] for one in found if isinstance(one, dict)]
    if not rows:
        return "No breakers."
    return table(_COLUMNS, rows)


def _cell(one: dict[str, Json], name: str) -> Json:
    match name:
        case "breaker":
            return plain(f"{one['upstream']}/{one['model']}")
        case "for":
            return f"key {one['credential']}" if one["credential"] else "all"
        case "probe_in":
            return _probe_in(one)
        case _:
            return one[name]


def _probe_in(one: dict[str, Json]) -> str | None:
    if one["state"] == "closed":
        return None
    seconds = one["probe_in_seconds"]
    return f"{seconds:.0f}s" if isinstance(seconds, int | float) else "when closed by hand"
