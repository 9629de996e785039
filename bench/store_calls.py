"""A governed call as a store sees it: the two appends that the ledger makes of it."""

from dataclasses import dataclass

from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.core.usage import Usage
from proxy.stores import Append, Charge, Maximum, SessionHead

NOW = 1_800_000_000.0
WINDOWS = ("tenant:4f1c09d2a7b3:1d:20833", "global:-:1h:500000")
MOST = Maximum(micro_usd=10**15)


@dataclass(slots=True)
class Session:
    """As the ledger's fold knows it."""

    key: SessionKey
    seq: int = 0
    token: bytes | None = None
    steps: int = 0


def reserve(session: Session, call: str) -> Append:
    session.steps += 1
    opened = (SessionOpened(NOW, agent="coder"),) if session.seq == 0 else ()
    reserved = StepReserved(
        NOW,
        call_id=call,
        step=session.steps,
        owner="12345-0a1b2c3d",
        deadline=NOW + 660,
        model="gpt-5-mini",
        upstream="openai",
        body_digest=b"0123456789abcdef",
        hold_cost_micro_usd=41_000,
        hold_tokens=9_000,
        accounts=WINDOWS,
    )
    charges = tuple(Charge(window, 41_000, maximum=MOST) for window in WINDOWS)
    expected, after, token = advance(session, len(opened) + 1)
    head = head_of(session, 41_000)
    events = (*opened, reserved)
    return Append(session.key, events, expected, charges, after=after, token=token, head=head)


def settle(session: Session, call: str, number: int) -> Append:
    event = StepSettled(
        NOW,
        call_id=call,
        usage=Usage(input_tokens=1_200, cache_read_tokens=800, output_tokens=300),
        cost_micro_usd=1_234,
        tokens=2_300,
        response_id=f"chatcmpl-{call[:24]}",
    )
    _, after, token = advance(session, 1)
    links = tuple((number * 7919 + n).to_bytes(16, "little") for n in (1, 2))
    return Append(
        session.key,
        (event,),
        after=after,
        token=token,
        closes=(call,),
        spent_micro_usd=1_234,
        links=links,
        head=head_of(session, 0),
    )


def advance(session: Session, events: int) -> tuple[int, bytes | None, bytes]:
    """What the next append stands on, and its name."""
    before = (session.seq, session.token)
    session.seq += events
    session.token = session.seq.to_bytes(16, "big")
    return *before, session.token


def head_of(session: Session, held: int) -> SessionHead:
    return SessionHead(
        agent="coder",
        steps=session.steps,
        tokens=2_300 * session.steps,
        cost_micro_usd=1_234 * session.steps,
        held_micro_usd=held,
        created_at=NOW,
        updated_at=NOW + session.seq * 1e-3,
    )
