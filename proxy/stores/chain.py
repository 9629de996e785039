"""The HMAC chain of a session's log: whoever changes an event without the key is found out.

    chain_n = HMAC-SHA256(key, chain_{n-1} ‖ tenant ‖ session ‖ seq ‖ payload)

Tenant and session are length-prefixed, so that no two sessions share a chain. What the chain alone
cannot show is a tail that was cut off together with its head row: for that, the head is kept
outside.
"""

import hmac
import os
import secrets
import struct
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import msgspec

from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores.volumes import advice

GENESIS = bytes(32)
"""What the first event of a session is chained to."""

KEY_BYTES = 32

_PREFIXES = 4_096
_SQLITE = b"SQLite format 3\0"
_APPLICATION = slice(68, 72)
_OURS = b"HOLD"
"""Of a SQLite file's header: whose it is (sqlite.org/fileformat.html, 1.3.17); it is written with
the tables, so a file that a crash left behind may have none yet."""
_BLOCK_BYTES = 64


class ChainedPayload(msgspec.Struct, frozen=True, gc=False):
    """One event as it was chained: its bytes, not its meaning."""

    seq: int
    payload: bytes
    chain: bytes


@lru_cache(_PREFIXES)
def prefix_of(key: SessionKey) -> bytes:
    """What names the session under the HMAC. Raises UnicodeEncodeError for a lone surrogate."""
    tenant, session = key.tenant.encode(), key.session.encode()
    return b"%b%b%b%b" % (_length(tenant), tenant, _length(session), session)


class Chain:
    """HMAC-SHA256 under one key, which is taken in once: `hmac.digest` takes twice as long, and a
    copy of `hmac.new` half as long again as its two hashes (RFC 2104)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block = secret if len(secret) <= _BLOCK_BYTES else sha256(secret).digest()
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def after(self, previous: bytes, prefix: bytes, seq: int, payload: bytes) -> bytes:
        """The chain at event `seq` of the session that `prefix` (of `prefix_of`) names."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"".join((previous, prefix, seq.to_bytes(8, "big"), payload)))
        outer.update(inner.digest())
        return outer.digest()


def first_altered(
    secret: bytes,
    key: SessionKey,
    rows: Iterable[ChainedPayload],
    head: tuple[int, bytes] | None = None,
    start: tuple[int, bytes] = (0, GENESIS),
) -> int | None:
    """The seq of the first event that is not as it was written (changed, missing, inserted, moved).

    `rows` are the whole log in order; `head` is the (seq, chain) it should end with, where known;
    `start` what its first event is chained on (`tombstones.begins_after`). None: all is as it was
    written.
    """
    prefix, (seq, chain) = prefix_of(key), start
    after = Chain(secret).after
    for row in rows:
        seq += 1
        chain = after(chain, prefix, seq, row.payload)
        if row.seq != seq or not hmac.compare_digest(chain, row.chain):
            return seq
    if head is not None and head != (seq, chain):
        return min(seq, head[0]) + 1 if head[0] != seq else max(seq, 1)
    return None


def load_or_create_key(path: Path, ledger: Path | None = None) -> bytes:
    """The 32 random bytes in `path`, made there with mode 0600 if it does not exist. ledger: what
    is chained with it; where that is there already the key was lost, and none is made.

    Several processes may race for it: all get the same key. Raises StoreUnavailable if others can
    read the file (group bits are let pass: Kubernetes' fsGroup sets them on every mount).
    """
    try:
        if not path.exists():
            if ledger is not None and _may_be_chained(ledger):
                raise StoreUnavailable(
                    f"the key {path} of the ledger {ledger} is gone: put it back from a backup, "
                    "set HOLDFAST_CHAIN_KEY if the ledger was made with that, or move the ledger "
                    "away to begin a new one"
                )
            create_secret(path, secrets.token_bytes(KEY_BYTES))
        mode = path.stat().st_mode
        key = path.read_bytes()
    except OSError as error:
        raise StoreUnavailable(
            f"the ledger's key {path} cannot be read or created: "
            + advice(error, "check the owner and the permissions of its directory")
            + ", or set HOLDFAST_CHAIN_KEY"
        ) from error
    if mode & 0o007:
        raise StoreUnavailable(
            f"the ledger's key {path} can be read by other users (mode {mode & 0o777:04o}): "
            f"run `chmod 600 {path}`"
        )
    if len(key) != KEY_BYTES:
        raise StoreUnavailable(
            f"the ledger's key {path} has {len(key)} bytes instead of {KEY_BYTES}: restore it from "
            "a backup, or remove it together with its ledger"
        )
    return key


def _may_be_chained(ledger: Path) -> bool:
    """Whether it may be one of ours: what is none is refused for that, not for its key."""
    try:
        with ledger.open("rb") as file:
            head = file.read(_APPLICATION.stop)
    except FileNotFoundError:
        return False
    return head.startswith(_SQLITE) and head[_APPLICATION] in (_OURS, bytes(4))


def create_secret(path: Path, secret: bytes) -> None:
    """A file that its owner alone can read, unless it is there already. Written aside and linked
    into place: nobody ever sees it half written, whatever ends this process. Raises OSError."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        os.link(aside, path)
    except FileExistsError:
        return  # another process was first: its key is the key
    finally:
        os.unlink(aside)


def _length(text: bytes) -> bytes:
    return struct.pack(">I", len(text))
