"""Events, heads and cursors as bytes. A log written today is read by any later version.

JSON, so that an operator can read and query the file with nothing but sqlite3. Unknown fields are
ignored, defaults are left out; a log only ever gains fields and events.
"""

import base64
import binascii
from math import isfinite

import msgspec

from proxy.core.events import AnyEvent, StepReserved
from proxy.errors import UNREADABLE, MalformedRequest, StoreUnavailable
from proxy.stores import SessionHead

_encode = msgspec.json.Encoder().encode
_decode_event = msgspec.json.Decoder(AnyEvent).decode
_decode_head = msgspec.json.Decoder(SessionHead).decode
_decode_cursor = msgspec.json.Decoder(tuple[float, int]).decode


def encode_event(event: AnyEvent) -> bytes:
    """UTF-8 JSON with its tag. ValueError for a time that is not finite: JSON would lose it."""
    if not isfinite(event.at) or (isinstance(event, StepReserved) and not isfinite(event.deadline)):
        raise ValueError(f"not a finite time: {event}")
    return _encode(event)


def decode_event(payload: bytes) -> AnyEvent:
    """Raises StoreUnavailable for what is damaged or was written by a version that knows more."""
    try:
        event: AnyEvent = _decode_event(payload)
    except UNREADABLE as error:
        raise StoreUnavailable(
            f"the ledger holds an event that cannot be read ({error}): it was altered, or written "
            "by a newer version; `holdfast verify` tells which"
        ) from error
    return event


def encode_head(head: SessionHead) -> str:
    return _encode(head).decode()


def decode_head(text: str) -> SessionHead:
    """The head; an empty one where it cannot be read: it is advisory, the log is the truth."""
    try:
        return _decode_head(text)
    except UNREADABLE:
        return SessionHead()


def encode_cursor(updated_at: float, number: int) -> str:
    """Opaque to whoever pages through a listing."""
    return base64.urlsafe_b64encode(_encode((updated_at, number))).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[float, int]:
    """Raises MalformedRequest for anything `encode_cursor` did not make."""
    try:
        updated_at, number = _decode_cursor(
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        )
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise MalformedRequest("the cursor is not one of ours", param="cursor") from error
    if not -(2**63) <= number < 2**63:
        raise MalformedRequest("the cursor is not one of ours", param="cursor")
    return updated_at, number
