"""`holdfast sessions`: what is recorded of a session, copies of it, and its deletion."""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from proxy.admin.shapes import Json
from proxy.cli.admin_client import AdminClient, AdminError
from proxy.exports import DIGEST_BYTES, MAGIC, SUFFIX, read_export, write_export

ACTIONS = {
    "diff": "what two steps of it differ in, message by message",
    "fork": "a new session that goes on from one of its steps",
    "export": "write it to a file, for another ledger",
    "archive": "write it to a file, and delete it",
    "delete": "delete it; a tombstone stays in the log",
}
"""Those on a session; `import` makes one."""


def add_arguments(name: str, action: argparse.ArgumentParser) -> None:
    """Those of one of these actions, of `show` and of `resume`, beside the session."""
    if name == "show":
        action.add_argument("--step", type=int, metavar="N", help="what it sent and was answered")
        which = action.add_mutually_exclusive_group()
        which.add_argument("--raw", action="store_true", help="print the step's request alone")
        which.add_argument(
            "--next", action="store_true", help="print the request to go on with alone"
        )
    elif name == "resume":
        action.add_argument(
            "--replay", action="store_true", help="answer its calls from the record as well"
        )
    elif name == "diff":
        action.add_argument("before", type=int, metavar="N")
        action.add_argument("after", type=int, metavar="M")
    elif name == "fork":
        action.add_argument("--step", type=int, metavar="N", help="default: its last")
        action.add_argument("--as", dest="new", metavar="NEW", help="the new session's id")
    elif name in ("export", "archive"):
        action.add_argument(
            "-o", "--output", metavar="FILE", help=f"default: ID{SUFFIX}; -: standard output"
        )


def add_import_arguments(action: argparse.ArgumentParser) -> None:
    action.add_argument("file", metavar="FILE", type=Path)
    action.add_argument("--as", dest="new", metavar="ID", help="its id here (default: as it was)")


def checkpoint(client: AdminClient, path: str, args: argparse.Namespace) -> dict[str, Json] | None:
    """A step's checkpoint; None where a body alone was printed."""
    raw = "1" if args.raw else "next" if args.next else None
    asked = f"{path}/checkpoint{_query({'tenant': args.tenant, 'step': args.step, 'raw': raw})}"
    if raw is None:
        return client.call("GET", asked)
    _print_body(client.download(asked))
    return None


def act(client: AdminClient, path: str, args: argparse.Namespace) -> dict[str, Json] | None:
    """One of `ACTIONS`; None where the file was written to standard output."""
    tenant = {"tenant": args.tenant}
    match args.action:
        case "diff":
            asked = _query({**tenant, "from": args.before, "to": args.after})
            return client.call("GET", f"{path}/diff{asked}")
        case "fork":
            wanted: dict[str, Json] = {"step": args.step, "session": args.new}
            body: Json = {name: value for name, value in wanted.items() if value is not None}
            return client.call("POST", f"{path}/fork{_query(tenant)}", body)
        case "delete":
            return client.call("DELETE", path + _query(tenant))
        case _:
            return _export(client, path, args)


def take_in(client: AdminClient, args: argparse.Namespace) -> dict[str, Json]:
    """`import`."""
    try:
        with args.file.open("rb") as file:
            size_bytes = sum(map(len, _checked(args.file, iter(lambda: file.read(1 << 20), b""))))
            file.seek(0)
            asked = _query({"as": args.new, "tenant": args.tenant})
            return client.upload(f"/api/v1/sessions/import{asked}", file, size_bytes)
    except OSError as error:
        raise AdminError(f"{args.file}: {error.strerror or error}") from error


def _export(client: AdminClient, path: str, args: argparse.Namespace) -> dict[str, Json] | None:
    asked = _query({"tenant": args.tenant})
    pieces = client.download(f"{path}/export{asked}")
    if args.output == "-":
        if args.action == "archive":
            raise AdminError("archive: a file is needed: what is printed may be lost")
        _print_body(pieces)
        return None
    target = Path(args.output or args.session + SUFFIX)
    try:
        size_bytes = write_export(target, _checked(target, pieces))
        told: dict[str, Json] = {"session": args.session, "file": str(target), "bytes": size_bytes}
        return {**told, **_deleted(client, path, args, target)}
    except OSError as error:
        raise AdminError(f"{target}: {error.strerror or error}") from error


def _deleted(
    client: AdminClient, path: str, args: argparse.Namespace, written: Path
) -> dict[str, Json]:
    """An archived session is deleted only as it is in the file."""
    if args.action != "archive":
        return {}
    with written.open("rb") as file:
        opening, _ = read_export(iter(lambda: file.read(1 << 20), b""))
    asked = _query({"tenant": args.tenant, "seq": opening.seq})
    return client.call("DELETE", path + asked)


def _checked(name: Path, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of an export, as they are. At their end raises AdminError where they are not what
    was written."""
    digest, begun, tail = hashlib.sha256(), False, b""
    for piece in pieces:
        if not begun and not piece.startswith(MAGIC):
            raise AdminError(f"{name}: it is no export of a session, or of a later version")
        begun = True
        tail += piece
        digest.update(tail[:-DIGEST_BYTES])
        tail = tail[-DIGEST_BYTES:]
        yield piece
    if digest.digest() != tail:
        raise AdminError(f"{name}: it is cut off, or was altered: export the session again")


def _print_body(pieces: Iterable[bytes]) -> None:
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _query(wanted: dict[str, str | int | None]) -> str:
    given = {name: value for name, value in wanted.items() if value is not None}
    return f"?{urlencode(given, quote_via=quote)}" if given else ""
