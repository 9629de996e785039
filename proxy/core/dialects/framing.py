"""What a body is around its conversation: where the list stands, and the bytes on both sides."""

from msgspec.structs import replace

from proxy.core.dialects.body import Body, is_steady
from proxy.core.request import Frame, moved_places

BRACKETS = 2
_OPENED = ord("[")


def place_of(taken: Body, listed: str) -> int:
    """Of the one list among the members; -1 where it is none, or there are several."""
    found = [at for at, place in enumerate(taken.places) if place.key == listed]
    at = found[0] if len(found) == 1 else -1
    return at if at >= 0 and taken.whole[taken.places[at].value_start] == _OPENED else -1


def around(taken: Body, at: int, frame: Frame, *, keep: bool) -> Frame:
    """The frame with its bytes, if it has a list at this place. keep: for other bodies."""
    steady = is_steady(taken.places)
    if at < 0:
        return replace(frame, request=replace(frame.request, laid=taken.places), steady=steady)
    whole, place = taken.whole, taken.places[at]
    list_bytes = place.value_end - place.value_start
    request = replace(
        frame.request,
        text_bytes=frame.request.text_bytes - list_bytes,
        laid=moved_places(taken.places, at, BRACKETS - list_bytes),
        listed=at,
    )
    members = frame.members
    if keep:  # they are views of the whole body
        members = {key: raw.copy() for key, raw in members.items() if key != place.key}
    return replace(
        frame,
        request=request,
        members=members,
        head=whole[: place.value_start + 1],
        tail=whole[place.value_end - 1 :],
        steady=steady,
    )
