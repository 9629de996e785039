"""What goes wrong with a Redis server, and what is said of it."""

from proxy.errors import StoreUnavailable


class Lost(Exception):
    """The connection broke: whether what was sent has been carried out is not known."""


class ServerError(Exception):
    """What the server answered: `code` is its first word."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


PASSING = {
    "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "READONLY", "MOVED", "ASK",
    "NOSCRIPT", "UNBLOCKED", "NOREPLICAS",
}  # fmt: skip
"""Answers of a server that did nothing, and may do it when asked again."""

_SENTENCES = {
    "LOADING": "it is still loading its data; this passes by itself",
    "READONLY": "it is a replica and takes no writes: name the primary in store.url, or the "
    "sentinels (redis+sentinel://)",
    "MASTERDOWN": "it is a replica without its primary: bring the primary back, or fail over",
    "CLUSTERDOWN": "slots of the cluster have no server: `redis-cli --cluster check` tells which",
    "BUSY": "a script of someone else keeps it busy: `redis-cli SCRIPT KILL` ends it",
    "OOM": "it has no memory left: raise its maxmemory, or shorten retention; nothing was written",
    "MISCONF": "it cannot save to its disk and takes no writes: see its log for why",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for",
    "NOAUTH": "it wants a password: put it into store.url",
    "WRONGPASS": "user or password of store.url are wrong",
    "NOPERM": "the user of store.url may not do what is needed (docs/fleet.md names it)",
    "WRONGTYPE": "keys of another program stand where the ledger's should be: give store.url a "
    "prefix of its own (?prefix=…)",
}


def unavailable(where: str, problem: Exception) -> StoreUnavailable:
    """One sentence: what is wrong with the server, and what mends it."""
    if isinstance(problem, StoreUnavailable):
        return problem
    if isinstance(problem, ServerError):
        said = _SENTENCES.get(problem.code, f"it answered: {str(problem)[:200]}")
        return StoreUnavailable(f"Redis ({where}) cannot be used: {said}")
    if isinstance(problem, TimeoutError):
        return StoreUnavailable(f"Redis ({where}) does not answer in time: is it overloaded?")
    why = str(problem) or type(problem).__name__
    return StoreUnavailable(f"Redis ({where}) cannot be reached ({why}): is it running?")
