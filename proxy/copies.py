"""Copies of sessions: forks inside a ledger, files between ledgers. And their deletion."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import msgspec

from proxy.contents import Contents
from proxy.control import Control, UnknownSession
from proxy.core.events import SessionDeleted
from proxy.core.fingerprints import is_kept
from proxy.core.forking import fork_of
from proxy.core.paths import checked_id
from proxy.core.session import SessionKey, SessionState
from proxy.core.steps import steps_of
from proxy.errors import ContentMissing, HoldfastError, MalformedRequest, SeqConflict
from proxy.exports import ExportReader, Opening, export_of
from proxy.ids import unique_ids
from proxy.imports import Adopted, adopted, is_of
from proxy.stores import Content, SessionDump, answer_name, request_name

_LONGEST_STEM = 96
_LONGEST_TENANT = 128


@dataclass
class SessionExists(HoldfastError):
    """A session of the id is there; for a file, also what is left of one that was deleted."""

    session: str
    deleted: bool = False
    status: int = 409
    code: str = "session_exists"

    def __str__(self) -> str:
        if self.deleted:
            return (
                f"session {self.session!r} was deleted not long ago, and its tombstone stands "
                "until retention takes it: take the file in under another id (--as ID, or ?as=ID)"
            )
        return f"a session {self.session!r} exists: name another id for the new one (--as)"


@dataclass
class SessionChanged(HoldfastError):
    """A session is not any more as who wants to delete it knows it."""

    session: str
    status: int = 409
    code: str = "session_changed"

    def __str__(self) -> str:
        return f"session {self.session!r} has gone on meanwhile: it was not deleted"


@dataclass
class UnknownStep(HoldfastError):
    """The session has no such step in its newest generation."""

    session: str
    step: int | None
    last: int
    status: int = 404
    code: str = "unknown_step"

    def __str__(self) -> str:
        if not self.last:
            return f"session {self.session} has no recorded step"
        return f"session {self.session} has no step {self.step} (it has 1 to {self.last})"


@dataclass
class NothingKept(HoldfastError):
    """The bodies and answers of a session were not kept."""

    session: str
    status: int = 409
    code: str = "nothing_kept"

    def __str__(self) -> str:
        return (
            f"nothing of what session {self.session} sent was kept: set checkpoints.content: full "
            "in the policy, for sessions that begin after that"
        )


class Forked(msgspec.Struct, frozen=True):
    """missing: steps whose answers were not kept: the fork asks for these anew."""

    key: SessionKey
    state: SessionState
    step: int
    missing: tuple[int, ...]


class Imported(msgspec.Struct, frozen=True):
    """opening: what the file said. own: this ledger's key has written it. expired: calls that were
    in flight when it was exported. unread: why what it sent cannot be read here, "" where it can.
    """

    key: SessionKey
    state: SessionState
    opening: Opening
    own: bool
    expired: tuple[str, ...]
    unread: str


class Copies:
    """Shared by the admin API's handlers. secret: the ledger's chain key.

    Raises UnknownSession, UnknownStep, SessionExists, NothingKept, MalformedRequest,
    StoreUnavailable."""

    def __init__(self, control: Control, contents: Contents, secret: bytes) -> None:
        self._control = control
        self._ledger = control.ledger
        self._store = control.store
        self._clock = control.clock
        self._contents = contents
        self._secret = secret
        self._new_id = unique_ids()
        self._importing = asyncio.Lock()

    async def fork(self, key: SessionKey, step: int | None, session: str | None) -> Forked:
        """A new session that has all of this one up to a step (None: its last), with nothing spent
        and limits of its own; its calls are answered from the record as far as that goes."""
        name = self._name(key.session) if session is None else checked_id(session, "session")
        log, state = await self._store.read(key), await self._control.show(key)
        last = max([one.step for one in steps_of(log)], default=0)
        fork = fork_of(log, key.session, last if step is None else step)
        if fork is None:
            raise UnknownStep(key.session, step, last)
        if not fork.kept:
            raise NothingKept(key.session)
        needed = await self._contents.needed(key, fork.kept)
        kept = tuple([Content(name, data) for name, data in needed.items()])
        asked, said = _calls(needed, request_name("")), _calls(needed, answer_name(""))
        events = fork.events(asked, said, state.agent, self._clock.now())
        target = SessionKey(key.tenant, name)
        try:
            after = await self._ledger.begin(target, events, kept)
        except SeqConflict as error:
            raise SessionExists(name) from error
        await self._control.tell(target)
        return Forked(target, after, fork.step, fork.missing)

    def _name(self, session: str) -> str:
        return f"{session[:_LONGEST_STEM]}.fork-{self._new_id()[8:]}"

    async def export(self, key: SessionKey) -> AsyncIterator[bytes]:
        """The session as one file, as it is now; calls in flight go on."""
        dump = await self._store.dump(key)
        if dump is None:
            raise UnknownSession(key.session)
        pieces = export_of(dump, self._clock.now())
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece

    async def take_in(
        self, pieces: AsyncIterator[bytes], session: str | None, tenant: str | None
    ) -> Imported:
        """Makes a session of a file that a ledger wrote. session, tenant: under which it is to be
        known here (None: as it was). One at a time: each may fill much memory."""
        async with self._importing:
            reader = ExportReader()
            async for piece in pieces:
                await asyncio.to_thread(reader.feed, piece)
            opening, dump = reader.close()
            key = _key(dump, session, tenant)
            now = self._clock.now()
            found: Adopted = await asyncio.to_thread(adopted, dump, key, self._secret, now)
            try:
                await self._store.restore(found.dump)
            except SeqConflict as error:
                raise SessionExists(key.session, await self._is_deleted(key)) from error
        await self._control.refresh(key)
        await self._control.tell(key)
        own, unread = is_of(dump, self._secret), await self._unread(key)
        return Imported(key, found.state, opening, own, found.expired, unread)

    async def _is_deleted(self, key: SessionKey) -> bool:
        """Whether nothing but a tombstone is there."""
        log = await self._store.read(key)
        return bool(log) and isinstance(log[-1].event, SessionDeleted)

    async def _unread(self, key: SessionKey) -> str:
        """Why the newest request of a session cannot be read here; "" where it can."""
        kept = [one for one in steps_of(await self._store.read(key)) if is_kept(one.content)]
        try:
            if kept:
                await self._contents.body_of(key, kept[-1])
        except ContentMissing as error:
            return error.message
        return ""

    async def delete(self, key: SessionKey, seq: int | None = None) -> None:
        """Leaves its tombstone. seq: only if its log ends there. Raises SessionBusy where a call is
        under way, SessionChanged."""
        try:
            there = await self._store.delete(key, self._clock.now(), expected_seq=seq)
        except SeqConflict as error:
            raise SessionChanged(key.session) from error
        if not there:
            raise UnknownSession(key.session)
        await self._control.refresh(key)
        await self._control.tell(key)


def _calls(names: Iterable[str], ending: str) -> frozenset[str]:
    return frozenset([one.removesuffix(ending) for one in names if one.endswith(ending)])


def _key(dump: SessionDump, session: str | None, tenant: str | None) -> SessionKey:
    theirs = dump.key
    name = checked_id(theirs.session if session is None else session, "session")
    owner = theirs.tenant if tenant is None else tenant
    if not (owner.isprintable() and 0 < len(owner) <= _LONGEST_TENANT):
        said = f"tenant: 1 to {_LONGEST_TENANT} printable characters are needed"
        raise MalformedRequest(said, param="tenant")
    return SessionKey(owner, name)
