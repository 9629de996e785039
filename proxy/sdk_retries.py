"""What the headers of an SDK say of its retries: whether it is one, and when one will come."""

from proxy.wire import Head

_EARLY = 0.9
_EARLY_SECONDS = 1.0
"""How much before its own time-out a client may seem to leave: its clock started before ours, and
some send whole seconds, rounded down."""
_UNSAID_SECONDS = 3.0
"""For an SDK that retries by itself but does not say how long it waits (openai-node, where the
time-out is the client's): it asks again within 2 seconds, or its user has left."""


def is_retry(head: Head) -> bool:
    """Whether an SDK sends it not for the first time, by its own count."""
    return head.fields.get("x-stainless-retry-count", "0") != "0"


def says_its_time(head: Head) -> bool:
    """Whether it says how long it waits: who leaves when that is over, asks again."""
    return _named_time(head) is not None


def seconds_until_retry(head: Head, waited_seconds: float, most_seconds: float) -> float:
    """How long a retry is waited for; 0 where none will come. waited_seconds: how long the client
    has waited when it leaves. most_seconds: of the policy (`retries.join_seconds`)."""
    fields = head.fields
    said = _named_time(head)
    if said is None:
        retries = "x-stainless-retry-count" in fields
        return min(most_seconds, _UNSAID_SECONDS) if retries else 0.0
    try:
        seconds = float(said)
    except ValueError:
        return 0.0
    gave_up = waited_seconds >= min(seconds * _EARLY, seconds - _EARLY_SECONDS)
    return most_seconds if gave_up else 0.0


def _named_time(head: Head) -> str | None:
    fields = head.fields
    return fields.get("x-stainless-read-timeout") or fields.get("x-stainless-timeout")
