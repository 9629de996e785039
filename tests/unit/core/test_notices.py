"""What is told of a handoff: from the log, in each receiver's shape, and signed."""

import base64
import hashlib
import hmac
import json

import pytest

from proxy.core import events as ev
from proxy.core.notices import Notice, notice_of, signature_of
from proxy.core.session import SessionKey
from proxy.core.tools.facts import HeldTool
from proxy.core.webhook_formats.registry import body_of

KEY = SessionKey("team-a", "s1")
HELD = HeldTool("call_1", "send_email", b"d" * 16, '{"to": "<!channel> & co"}')
STOP = ev.HandedOff(
    at=1_800_000_000.0,
    handoff="ho_1",
    code="step_limit_exceeded",
    limit="steps",
    message="It has used 5 of 5 steps.",
    blocking=True,
    notify=True,
)
CALL = ev.HandedOff(at=2.0, handoff="ho_2", code="c", message="m", blocking=True, held=HELD)
OPENED = ev.SessionOpened(at=1.0, agent="triage")


def noticed(*log: ev.AnyEvent, handoff: str = "ho_1") -> Notice:
    notice = notice_of(KEY, (OPENED, *log), handoff)
    assert notice is not None
    return notice


def told(notice: Notice, shape: str = "generic") -> dict[str, object]:
    decoded = json.loads(body_of(notice, shape, b"R" * 32))
    assert isinstance(decoded, dict)
    return decoded


def test_a_notice_is_owed_until_the_log_says_it_was_delivered() -> None:
    delivered = ev.WebhookDelivered(at=3.0, handoff="ho_1")

    assert noticed(STOP).handoff == STOP
    assert notice_of(KEY, (OPENED, STOP, delivered), "ho_1") is None
    assert notice_of(KEY, (OPENED, STOP), "ho_9") is None
    assert notice_of(KEY, (), "ho_1") is None


@pytest.mark.parametrize(
    ("later", "outcome"),
    [
        ([], None),
        ([ev.HandoffAnswered(at=3.0, handoff="ho_1", action="guide")], "guide"),
        ([ev.HandoffAnswered(at=3.0, handoff="ho_2", action="guide")], None),
        ([ev.SessionKilled(at=3.0)], "closed"),
        ([ev.SessionOpened(at=3.0)], "closed"),
        ([ev.WebhookDelivered(at=3.0, handoff="ho_2")], None),
    ],
)
def test_it_says_how_the_handoff_was_answered_meanwhile(
    later: list[ev.AnyEvent], outcome: str | None
) -> None:
    """A receiver that was away for an hour must not wake somebody for nothing."""
    assert noticed(STOP, *later).outcome == outcome


def test_generic_is_an_envelope_with_all_that_is_known() -> None:
    body = told(noticed(STOP))

    assert (body["type"], body["id"]) == ("handoff.opened", "ho_1")
    assert body["timestamp"] == "2027-01-15T08:00:00.000+00:00"
    assert body["data"] == {
        "handoff": "ho_1",
        "session": "s1",
        "tenant": "team-a",
        "agent": "triage",
        "state": "awaiting_human",
        "code": "step_limit_exceeded",
        "limit": "steps",
        "message": "It has used 5 of 5 steps.",
        "tool_call": None,
        "steps": 0,
        "cost_usd": 0.0,
        "outcome": None,
    }
    call = told(noticed(CALL, handoff="ho_2"))["data"]
    assert isinstance(call, dict)
    assert call["tool_call"] == {
        "id": "call_1",
        "tool": "send_email",
        "arguments": HELD.arguments,
    }


def test_in_slack_no_model_formats_or_mentions_anybody() -> None:
    """Arguments are a model's words: `<!channel>` would wake the whole company."""
    text = told(noticed(CALL, handoff="ho_2"), "slack")["text"]

    assert text == (
        'Session s1 (triage) waits for a human.\nm\nsend_email({"to": "&lt;!channel&gt; &amp; co"})'
    )
    answered = ev.HandoffAnswered(at=3.0, handoff="ho_1", action="extend")
    assert str(told(noticed(STOP, answered), "slack")["text"]).endswith("\nMeanwhile: extend.")


def test_in_slack_a_model_writes_no_lines_of_ours_and_nothing_is_fetched() -> None:
    """Slack's robot opens what a link is to: with what the model put into it. And `*`, `_` and
    backticks would format."""
    held = HeldTool("c1", "pay", b"d" * 16, '{"a": "*now*"}\n)\nMeanwhile: approve.\u202e\u0007')
    body = told(noticed(ev.HandedOff(1.0, "ho_2", message="m", held=held), handoff="ho_2"), "slack")

    assert str(body.pop("text")).split("\n")[2:] == ['pay({"a": "*now*"} ) Meanwhile: approve.  )']
    assert body == {"mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def test_pagerduty_is_one_incident_for_each_handoff() -> None:
    body = told(noticed(STOP), "pagerduty")
    payload = body["payload"]
    assert isinstance(payload, dict)

    assert body["routing_key"] == "R" * 32
    assert (body["event_action"], body["dedup_key"]) == ("trigger", "ho_1")
    assert (payload["severity"], payload["class"]) == ("error", "steps")
    assert payload["source"] == "holdfast/s1"
    assert payload["summary"].startswith("Session s1 waits for a human: It has used 5")
    assert payload["timestamp"] == "2027-01-15T08:00:00.000+00:00"
    answered = ev.HandoffAnswered(at=3.0, handoff="ho_1", action="extend")
    assert told(noticed(STOP, answered), "pagerduty")["event_action"] == "resolve"


def test_long_messages_fit_where_they_are_shown() -> None:
    long = noticed(ev.HandedOff(at=1.0, handoff="ho_1", message="x" * 9_000, blocking=True))
    payload = told(long, "pagerduty")["payload"]
    assert isinstance(payload, dict)

    assert len(payload["summary"]) == 1_024
    assert len(str(told(long, "slack")["text"])) == 3_000


def test_only_pagerduty_is_sent_its_key() -> None:
    for shape in ("generic", "slack"):
        assert "RRRR" not in json.dumps(told(noticed(STOP), shape))


KEY_BYTES = bytes(range(24))


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (b"a text", b"a text"),
        (b"whsec_" + base64.b64encode(KEY_BYTES), KEY_BYTES),
        (b"whsec_no base64", b"whsec_no base64"),
    ],
)
def test_the_signature_is_that_of_standard_webhooks(secret: bytes, key: bytes) -> None:
    """`v1,` and base64 of HMAC-SHA256 over id.timestamp.body."""
    expected = hmac.new(key, b"ho_1.1800000000.{}", hashlib.sha256).digest()

    signature = signature_of(secret, "ho_1", 1_800_000_000, b"{}")

    assert signature == "v1," + base64.b64encode(expected).decode()


def test_the_signature_of_the_specifications_own_example() -> None:
    """So that it is not only our reading of it that is tested."""
    secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'

    signature = signature_of(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
