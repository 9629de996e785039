"""The admin token: from the environment, else made once and kept in a 0600 file.

White space around it is not the token's: a Secret made of a file has the file's last line end."""

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores.chain import create_secret
from proxy.stores.urls import secret_beside
from proxy.stores.volumes import advice

VARIABLE = "HOLDFAST_ADMIN_TOKEN"


def admin_token(env: Mapping[str, str], store_url: str, admin_port: int) -> str:
    """The token that the admin API takes. Made if need be, where `find_token` looks for it.

    Raises StoreUnavailable where the file cannot be made or is open to others.
    """
    if given := env.get(VARIABLE, "").strip():
        return given
    path = token_path(store_url, admin_port)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            create_secret(path, secrets.token_urlsafe(32).encode())
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: cannot write the admin token: "
            + advice(error, "check the owner and the permissions of its directory")
            + f", or set {VARIABLE}"
        ) from error
    return _read(path)


def find_token(env: Mapping[str, str], store_url: str, admin_port: int) -> str | None:
    """The token of a sidecar on this machine, for the command line; None if there is none."""
    if given := env.get(VARIABLE, "").strip():
        return given
    path = token_path(store_url, admin_port)
    return _read(path) if path.exists() else None


def token_path(store_url: str, admin_port: int) -> Path:
    """Beside the store; a store without a place on disk has it in a folder of this user's own."""
    secret = secret_beside(store_url)
    if secret is not None:
        return secret.with_name(secret.name.removesuffix(".key") + ".admin-token")
    return Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}" / f"{admin_port}.admin-token"


def _read(path: Path) -> str:
    try:
        status = path.stat()
        token = path.read_text().strip()
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot read the admin token: {error.strerror}") from error
    if status.st_mode & 0o007 or status.st_uid != os.getuid():
        raise StoreUnavailable(f"{path}: others can read or write this; remove it and start again")
    if len(token) < 16:
        raise StoreUnavailable(f"{path}: no token in it; remove it and start again")
    return token
