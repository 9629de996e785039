"""Builds what gives recorded answers again, from its parts."""

from collections.abc import Callable

from proxy.clock import Clock
from proxy.contents import Contents
from proxy.core.memo import Memo
from proxy.guard.recall import Recall
from proxy.joining import Joins
from proxy.ledger import Ledger
from proxy.records import CallRecord
from proxy.replaying.judging import Judge
from proxy.replaying.replays import Replays
from proxy.replaying.sessions import ResumedSessions
from proxy.retelling import Retelling
from proxy.stores import Store


def build_replays(
    ledger: Ledger,
    store: Store,
    contents: Contents,
    recall: Recall,
    retelling: Retelling,
    joins: Joins,
    clock: Clock,
    memo: Memo | None,
    observe: Callable[[CallRecord], None],
) -> Replays:
    judge = Judge(contents, recall)
    return Replays(ledger, ResumedSessions(store), judge, retelling, joins, clock, memo, observe)
