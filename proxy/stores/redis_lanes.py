"""Appends on their way: what one turn of the loop gathers goes out as one script, in order.

Theory of operation. One script is under way in a lane; what comes meanwhile waits for it, and goes
together. Each append is made on the end of its session's log that is known here, or is foreseen
from those before it. Where that is not the end in the server, the script stops there and says what
is: the rest is made anew, in the same order. A script that may have run already is sent as it was:
it finds its own rows in the log. So nothing is written twice, whatever breaks.

A single server has one lane, so that all appends of a process are applied in the order of their
making; a cluster has one for each tenant.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from proxy.core.session import SessionKey
from proxy.errors import (
    AccountExceeded,
    HoldfastError,
    SeqConflict,
    SessionBusy,
    StoreUnavailable,
)
from proxy.stores import Appended, LogCutShort
from proxy.stores.chain import GENESIS
from proxy.stores.redis_claiming import Claiming, Ran, Result, is_charged_elsewhere
from proxy.stores.redis_connection import Command
from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_jobs import AppendJob, Job
from proxy.stores.redis_keys import account_name, tag
from proxy.stores.redis_replicas import Replicas
from proxy.stores.redis_requests import (
    Request,
    Tip,
    Writing,
    decode_tip,
    pack,
    text,
)
from proxy.stores.redis_scripts import script
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_tenants import Tenants
from proxy.stores.redis_tips import Tips
from proxy.stores.redis_windows import Windows

MOST_AT_ONCE = 64
"""A script of so many keeps the server from others for two or three milliseconds."""

_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Shared:
    """What all lanes of a store work with."""

    servers: Servers
    tips: Tips
    replicas: Replicas
    windows: Windows
    tenants: Tenants
    expiry: Expiry


class Lane:
    """`put` is called on the loop; answers come through the jobs' futures."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._servers = shared.servers
        self._waiting: deque[Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        self._unanswered: dict[int, Job] = {}
        self._claiming = Claiming(shared.servers, shared.windows, self._run_script)

    def put(self, job: Job) -> None:
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    async def settled(self) -> None:
        """When all that was put has been answered."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._waiting:
            batch = self._gather()
            self._unanswered = {id(job): job for job in batch}
            try:
                await self._write(batch)
            except Exception as error:  # the lane's boundary: whoever waits must hear of anything
                for job in list(self._unanswered.values()):
                    self._answer(job, error)

    def _answer(self, job: Job, result: Appended | Exception | None) -> None:
        del self._unanswered[id(job)]
        job.future.answer(result)

    def _gather(self) -> list[Job]:
        """As many as go together. In a cluster what is charged elsewhere goes alone."""
        batch: list[Job] = []
        size = 0
        while self._waiting and len(batch) < MOST_AT_ONCE and size < _MOST_BYTES:
            job = self._waiting[0]
            if batch and (self._goes_alone(batch[-1]) or self._goes_alone(job)):
                break
            batch.append(self._waiting.popleft())
            size += _size(job)
        return batch

    async def _write(self, batch: list[Job]) -> None:
        await self._shared.tenants.introduce({job.key.tenant for job in batch})
        await self._learn(batch)
        left: Sequence[Job] = batch
        while left:
            if self._goes_alone(left[0]):
                left = left[await self._write_alone(left[0]) :]
            else:
                left = left[await self._write_here(left) :]

    async def _learn(self, batch: Sequence[Job]) -> None:
        """Reads the ends that are not known; of what takes its session for new, none."""
        tips = self._shared.tips
        wanted = dict.fromkeys(
            job.key
            for job in batch
            if job.fresh or (tips.get(job.key) is None and not job.begins())
        )
        if not wanted:
            return
        names = [f"{self._p(key)}:s:{key.session}" for key in wanted]
        raw = await self._servers.calls(names[0], [("GET", name) for name in names])
        for key, one in zip(wanted, raw, strict=True):
            with suppress(LogCutShort):  # said to who writes there, not to all of the batch
                await self._learnt(key, decode_tip(one))

    async def _learnt(self, key: SessionKey, tip: Tip | None) -> None:
        tips = self._shared.tips
        await tips.check(self._servers, key, 0 if tip is None else tip.seq)
        if tip is None:
            tips.forget(key)
        else:
            tips.acknowledged(key, tip)

    async def _write_here(self, jobs: Sequence[Job]) -> int:
        """How many of them were answered: those after the last are to be made anew."""
        made = self._made(jobs)
        requests = [one.outcome.request for one in made if isinstance(one.outcome, Writing)]
        results, unconfirmed = await self._run_script(requests) if requests else ([], None)
        following = iter(results)
        for count, one in enumerate(made):
            if isinstance(one.outcome, Writing):
                result = next(following, None)
                if result is None:
                    return count
                if not await self._take(one.job, one.outcome, result, unconfirmed):
                    return count
            elif self._shared.tips.get(one.job.key) is not one.before:
                return count  # it was made on what has not come true
            else:
                self._answer(one.job, one.outcome)
        return len(made)

    def _goes_alone(self, job: Job) -> bool:
        return self._servers.is_cluster and is_charged_elsewhere(job, self._servers.prefix)

    async def _write_alone(self, job: Job) -> int:
        """1 when it was answered."""
        (one,) = self._made([job])
        assert isinstance(one.outcome, Writing)  # what is charged is an append
        request, result, unconfirmed = await self._claiming.write(one.outcome)
        writing = Writing(request, one.outcome.tip)
        return int(await self._take(job, writing, result, unconfirmed))

    def _made(self, jobs: Sequence[Job]) -> list["_Made"]:
        """Each on what those before it will have left."""
        foreseen: dict[SessionKey, Tip] = {}
        made = []
        for job in jobs:
            before = foreseen.get(job.key) or self._shared.tips.get(job.key)
            outcome = job.make(before, self._next_number(), self._servers.clock.now())
            made.append(_Made(job, before, outcome))
            if isinstance(outcome, Writing) and not _is_refused(outcome.request, before):
                foreseen[job.key] = outcome.tip
        return made

    def _next_number(self) -> int:
        """Of a session that begins: grows with time, across processes."""
        self._number = max(self._number + 1, int(self._servers.clock.now() * 1e6))
        return self._number

    async def _run_script(self, requests: Sequence[Request]) -> Ran:
        append, shared = script("append"), self._shared
        self._servers.know(append)
        key = f"{requests[0].p}:s:{requests[0].session}"
        packed = [pack(request) for request in requests]
        cluster, wait = int(self._servers.is_cluster), shared.replicas.commands()

        def commands(attempt: int) -> Sequence[Command]:
            evaluate: Command = (
                "EVALSHA", append.sha, 1, key, attempt, cluster, shared.expiry.seconds, *packed,
            )  # fmt: skip
            return (evaluate, *wait)

        replies = await self._servers.exchange(key, commands)
        results = replies[0]
        assert isinstance(results, list)
        return results, await shared.replicas.check(replies[1:])

    async def _take(
        self, job: Job, writing: Writing, result: Result, unconfirmed: StoreUnavailable | None
    ) -> bool:
        """Answers the job; False where it has to be made anew."""
        verdict, *said = result
        match verdict:
            case b"ok":
                if self._servers.is_cluster:
                    await self._claiming.carry_out(writing.request.p, said)
                self._written(job, writing, unconfirmed)
            case b"repeat":
                tip = decode_tip(said[0])
                seq, chain = (0, GENESIS) if tip is None else (tip.seq, tip.chain)
                self._answer(job, Appended(seq, chain, repeated=True))
            case b"tip":
                return await self._ends_elsewhere(job, decode_tip(said[0]))
            case b"anew":
                return False
            case _:
                self._answer(job, _refusal(job, verdict, said))
        return True

    async def _ends_elsewhere(self, job: Job, tip: Tip | None) -> bool:
        """The log does, than was known here. True where the job is answered with that."""
        if job.once:
            self._answer(job, SeqConflict(0 if tip is None else tip.seq))
            return True
        try:
            await self._learnt(job.key, tip)
        except LogCutShort as error:
            self._answer(job, error)
            return True
        return False

    def _written(self, job: Job, writing: Writing, unconfirmed: StoreUnavailable | None) -> None:
        if writing.request.wipe == 2:
            self._shared.tips.forget(job.key)
        else:
            self._shared.tips.acknowledged(job.key, writing.tip)
        done = Appended(writing.tip.seq, writing.tip.chain)
        self._answer(job, done if unconfirmed is None else unconfirmed)

    def _p(self, key: SessionKey) -> str:
        return tag(self._servers.prefix, key.tenant)


@dataclass(frozen=True, slots=True)
class _Made:
    job: Job
    before: Tip | None
    outcome: Writing | HoldfastError | None


def _size(job: Job) -> int:
    if not isinstance(job, AppendJob):
        return 0
    return sum(len(content.data) for content in job.prepared.append.contents)


def _is_refused(request: Request, before: Tip | None) -> bool:
    """Whether it is foreseen that the script will not write it."""
    if request.expected is None:
        return False
    seq, token = (0, b"") if before is None else (before.seq, before.token)
    return request.expected != seq or request.after not in (None, text(token))


def _refusal(job: Job, verdict: object, said: Sequence[object]) -> HoldfastError:
    match verdict, said:
        case b"conflict", [int(seq)]:
            return SeqConflict(seq)
        case b"held", []:
            return SessionBusy(job.key.session)
        case b"exceeded", [0, bytes(key)]:
            return AccountExceeded(account_name(key.decode()))
        case b"exceeded", [int(place)] if isinstance(job, AppendJob):
            return AccountExceeded(job.prepared.append.charges[place - 1].account)
    return StoreUnavailable(f"Redis answered an append with what nobody knows: {verdict!r}")
