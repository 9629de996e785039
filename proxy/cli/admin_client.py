"""The admin API from a shell: one request at a time, over the standard library."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import IO

from proxy.admin.shapes import Json
from proxy.admin.token import VARIABLE, find_token
from proxy.config.load import load_policy
from proxy.errors import HoldfastError

_SECONDS = 30.0
_TRANSFER_SECONDS = 600.0
_PIECE_BYTES = 256 * 1024


@dataclass
class AdminError(HoldfastError):
    """The admin API refused, or could not be reached."""

    message: str

    def __str__(self) -> str:
        return self.message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the sidecar is, and how its answer is printed."""
    env = os.environ
    parser.add_argument("--json", action="store_true", help="print the API's JSON")
    port = env.get("HOLDFAST_ADMIN_PORT", "9090")
    parser.add_argument(
        "--admin-url",
        default=env.get("HOLDFAST_ADMIN_URL", f"http://127.0.0.1:{port}"),
        help="the sidecar's admin port [HOLDFAST_ADMIN_URL]",
    )
    parser.add_argument(
        "--store",
        default=env.get("HOLDFAST_STORE"),
        help="its store, to find the admin token beside it [HOLDFAST_STORE]",
    )


class AdminClient:
    """Talks to one sidecar. The token comes from HOLDFAST_ADMIN_TOKEN or from beside the store."""

    def __init__(self, url: str, store: str | None) -> None:
        self._url = url.rstrip("/")
        if urllib.parse.urlsplit(self._url).scheme not in ("http", "https"):
            raise AdminError(f"--admin-url: {url!r} is not an http URL")
        store_url = store or load_policy(None, os.environ).policy.store_url
        port = urllib.parse.urlsplit(self._url).port or 80
        try:
            self._token = find_token(os.environ, store_url, port)
        except (HoldfastError, ValueError) as error:
            raise AdminError(str(error)) from error

    def call(self, method: str, path: str, body: Json = None) -> dict[str, Json]:
        """One call; its JSON. Raises AdminError with what the API said."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return self._json(self._request(method, path, headers, data), _SECONDS)

    def upload(self, path: str, file: IO[bytes], size_bytes: int) -> dict[str, Json]:
        """Sends a file, piece by piece; the answer's JSON. Raises AdminError."""
        headers = {"content-type": "application/octet-stream", "content-length": str(size_bytes)}
        return self._json(self._request("POST", path, headers, file), _TRANSFER_SECONDS)

    def download(self, path: str) -> Iterator[bytes]:
        """A body, piece by piece. Raises AdminError, also where it breaks off."""
        request = self._request("GET", path, {}, None)
        with self._answered(request, _TRANSFER_SECONDS) as response:
            while True:
                try:
                    piece = response.read(_PIECE_BYTES)
                except (OSError, HTTPException) as error:
                    raise AdminError(f"the answer of {self._url} broke off: {error}") from error
                if not piece:
                    return
                yield piece

    def _json(self, request: urllib.request.Request, seconds: float) -> dict[str, Json]:
        with self._answered(request, seconds) as response:
            answer = json.load(response)
        return answer if isinstance(answer, dict) else {}

    def _request(
        self, method: str, path: str, headers: dict[str, str], data: bytes | IO[bytes] | None
    ) -> urllib.request.Request:
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        return urllib.request.Request(  # noqa: S310 - the scheme was checked above
            self._url + path, data=data, headers=headers, method=method
        )

    def _refused(self) -> str:
        what = "that was found is not this sidecar's" if self._token else "was found"
        none = "the admin token" if self._token else "no admin token"
        return f"{none} {what}: say which ledger it serves with --store, or set {VARIABLE}"

    @contextmanager
    def _answered(self, request: urllib.request.Request, seconds: float) -> Iterator[HTTPResponse]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as response:
                yield response
        except urllib.error.HTTPError as error:
            raise AdminError(self._refused() if error.code == 401 else _said(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            raise AdminError(f"no sidecar answers at {self._url}: {error}") from error


def run(
    args: argparse.Namespace,
    act: Callable[[AdminClient, argparse.Namespace], dict[str, Json] | None],
    show: Callable[[dict[str, Json]], None],
) -> int:
    """Shows a human what the API answered or, with --json, prints it as it came; nothing where that
    is None. 1 where the API refused."""
    try:
        answer = act(AdminClient(args.admin_url, args.store), args)
    except AdminError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:
        print(f"holdfast: {error.object!a} is not UTF-8", file=sys.stderr)
        return 1
    if answer is not None and args.json:
        print(json.dumps(answer, indent=2))
    elif answer is not None:
        show(answer)
    return 0


def _said(error: urllib.error.HTTPError) -> str:
    try:
        told = json.load(error)["error"]
        tenants = "".join(f"\n  {tenant}" for tenant in told.get("tenants", ()))
        return f"{told['message']}{tenants}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
