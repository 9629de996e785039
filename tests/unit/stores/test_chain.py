"""The chain finds every kind of tampering, and its key is made once, for its owner only."""

import hmac
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores.chain import (
    GENESIS,
    KEY_BYTES,
    Chain,
    ChainedPayload,
    first_altered,
    load_or_create_key,
    prefix_of,
)

SECRET = bytes(range(32))
KEY = SessionKey("team", "s1")
payloads = st.lists(st.binary(max_size=20), min_size=1, max_size=8)


def _log(contents: list[bytes], key: SessionKey = KEY) -> list[ChainedPayload]:
    chain, rows = GENESIS, []
    for seq, payload in enumerate(contents, 1):
        chain = Chain(SECRET).after(chain, prefix_of(key), seq, payload)
        rows.append(ChainedPayload(seq, payload, chain))
    return rows


def test_the_chain_is_an_hmac_that_anyone_can_recompute() -> None:
    """An auditor needs the key, the file and these words, not our code. Written down once."""
    (row,) = _log([b"{}"])

    assert row.chain.hex() == "19bfec72a8bd06d31ee43183bb6accfd1c1410e9063598c506c13b986f8fba73"


@given(st.binary(max_size=200), st.binary(max_size=32), payloads)
def test_two_hashes_kept_are_the_hmac(
    secret: bytes, previous: bytes, contents: list[bytes]
) -> None:
    """RFC 2104 by hand, for keys shorter and longer than its block."""
    chain, prefix = Chain(secret), prefix_of(KEY)

    for seq, payload in enumerate(contents):
        message = previous + prefix + seq.to_bytes(8, "big") + payload
        assert chain.after(previous, prefix, seq, payload) == hmac.digest(secret, message, "sha256")


@given(payloads)
def test_a_log_as_written_verifies(contents: list[bytes]) -> None:
    """With the head it ended with, and without."""
    rows = _log(contents)

    assert first_altered(SECRET, KEY, rows) is None
    assert first_altered(SECRET, KEY, rows, (rows[-1].seq, rows[-1].chain)) is None


@given(payloads, st.data())
def test_a_changed_event_is_named(contents: list[bytes], data: st.DataObject) -> None:
    """Its payload, or its chain."""
    rows = _log(contents)
    at = data.draw(st.integers(0, len(rows) - 1))
    seq, payload, chain = rows[at].seq, rows[at].payload, rows[at].chain
    rows[at] = data.draw(
        st.sampled_from(
            [ChainedPayload(seq, payload + b"!", chain), ChainedPayload(seq, payload, GENESIS)]
        )
    )

    assert first_altered(SECRET, KEY, rows) == seq


@given(st.lists(st.binary(max_size=9), min_size=3, max_size=8, unique=True), st.data())
def test_a_missing_or_moved_event_is_named(contents: list[bytes], data: st.DataObject) -> None:
    """Also where the numbers were put right again."""
    rows = _log(contents)
    at = data.draw(st.integers(0, len(rows) - 2))
    missing = rows[:at] + rows[at + 1 :]
    renumbered = [ChainedPayload(n, row.payload, row.chain) for n, row in enumerate(missing, 1)]
    moved = [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]

    assert [first_altered(SECRET, KEY, log) for log in (missing, renumbered, moved)] == [at + 1] * 3


def test_a_cut_tail_shows_against_the_head() -> None:
    """The chain alone cannot tell; the head, kept beside or outside, can."""
    rows = _log([b"a", b"b", b"c"])
    head = (3, rows[2].chain)

    assert first_altered(SECRET, KEY, rows[:2]) is None
    assert first_altered(SECRET, KEY, rows[:2], head) == 3
    assert first_altered(SECRET, KEY, [], head) == 1
    assert first_altered(SECRET, KEY, rows, (2, rows[1].chain)) == 3
    assert first_altered(SECRET, KEY, rows, (3, GENESIS)) == 3


@pytest.mark.parametrize("key", [SessionKey("team", "s2"), SessionKey("tea", "ms1")])
def test_a_log_does_not_verify_as_another_session(key: SessionKey) -> None:
    """Nor as one whose names only run together to the same letters."""
    assert first_altered(SECRET, key, _log([b"a"])) == 1


def test_a_log_does_not_verify_under_another_key() -> None:
    """Who can write the file cannot write the chain."""
    assert first_altered(b"another", KEY, _log([b"a"])) == 1


def test_a_key_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    """Whatever the umask says."""
    path = tmp_path / "ledger.db.key"
    before = os.umask(0)
    try:
        key = load_or_create_key(path)
    finally:
        os.umask(before)

    assert len(key) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path) == key
    assert list(tmp_path.iterdir()) == [path]


def test_all_who_race_for_a_key_get_the_same(tmp_path: Path) -> None:
    """Workers start together on an empty directory."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_key(tmp_path / "key"), range(8)))

    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def _readable_by_all(path: Path) -> None:
    path.write_bytes(SECRET)
    path.chmod(0o604)


def _cut_short(path: Path) -> None:
    path.write_bytes(b"half")
    path.chmod(0o600)


def _a_directory(path: Path) -> None:
    path.mkdir(mode=0o700)


@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        (_readable_by_all, "chmod 600"),
        (_cut_short, "4 bytes"),
        (_a_directory, "HOLDFAST_CHAIN_KEY"),
    ],
)
def test_a_key_that_is_none_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], advice: str
) -> None:
    """With what to do about it."""
    spoil(tmp_path / "key")

    with pytest.raises(StoreUnavailable, match=advice):
        load_or_create_key(tmp_path / "key")


def test_a_key_file_with_group_bits_is_let_pass(tmp_path: Path) -> None:
    """Kubernetes' fsGroup sets them on each mount: a restart must not fail for it."""
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    path.chmod(0o660)

    assert load_or_create_key(path) == SECRET
