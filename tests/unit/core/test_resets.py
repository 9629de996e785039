"""When a provider may be asked again: every form in use, and none that breaks or binds us."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.resets import MAX_RESET_SECONDS, bounded, resets_in, seconds_until, told_in

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC).timestamp()
IN_90 = datetime(2026, 11, 30, 12, 1, 30, tzinfo=UTC)

texts = st.text(max_size=80) | st.from_regex(
    r"[0-9TZ:.+\-hmsnu µ]{0,40}|\d{1,20}(\.\d+)?(ms|s|m|h|d)?", fullmatch=True
)
names = st.sampled_from(
    (
        "retry-after",
        "Retry-After-Ms",
        "x-ratelimit-reset-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset",
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-unified-5h-status",
        "ratelimitbysize-reset",
        "x-other-reset",
    )
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("0", 0),
        ("1.5", 1.5),
        (" 20 ", 20),
        ("1s", 1),
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("250µs", 0.00025),
        ("9us", 0.000009),
        ("5ns", 5e-9),
        (str(int(NOW) + 90), 90),
        (str((int(NOW) + 90) * 1000), 90),
        ("2026-11-30T12:01:30Z", 90),
        ("2026-11-30T12:01:30.500Z", 90.5),
        ("2026-11-30T13:01:30+01:00", 90),
        ("2026-11-30T12:01:30", 90),
        (format_datetime(IN_90, usegmt=True), 90),
        ("Mon, 30 Nov 2026 11:59:00 GMT", -60),
    ],
)
def test_every_form_in_use_is_read(text: str, seconds: float) -> None:
    assert seconds_until(text, NOW) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "-1", "1e9", "inf", "nan", "0x10", "1_000", "١٢", "s", "1 s", "1s2"),
        *("1.2.3", "9" * 16, "1" * 65, "1w", "Mon, 31 Nov 2026 11:59:00 GMT", "GMT", " GMT"),
        *("2026-13-01T00:00:00Z", "99999-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59x"),
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert seconds_until(text, NOW) is None


def test_a_bare_number_is_seconds_as_long_as_it_can_be() -> None:
    """From three years on it is a date, from five thousand years on one in milliseconds."""
    assert seconds_until("99999999", 0.0) == 99_999_999
    assert seconds_until("100000000", 1.0) == 99_999_999
    assert seconds_until("99999999999", 1.0) == 99_999_999_998
    assert seconds_until("100000000000", 1.0) == 99_999_999


def test_what_is_said_of_this_call_comes_before_what_is_said_of_a_window() -> None:
    windows = [("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-requests", "0")]

    assert resets_in([*windows, ("Retry-After-Ms", "120"), ("retry-after", "9")], NOW) == 0.12
    assert resets_in([*windows, ("Retry-After", "9")], NOW) == 9
    assert resets_in([*windows, ("retry-after", "whenever"), ("retry-after-ms", "-")], NOW) == 360


def test_a_window_counts_only_where_nothing_remains_of_it() -> None:
    """Providers send the reset of every window with every answer."""
    windows = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
        ("x-ratelimit-remaining-tokens", "17"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ]

    assert resets_in(windows, NOW) == 2
    assert resets_in([("x-ratelimit-reset-requests", "2s")], NOW) == 2
    assert resets_in([(name, "5") for name, _ in windows], NOW) is None
    assert resets_in([(name, "1") for name, _ in windows], NOW) is None


def test_of_several_windows_the_last_to_be_lifted_counts() -> None:
    windows = [
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2026-11-30T12:01:30Z"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-30T12:02:00Z"),
        ("anthropic-ratelimit-output-tokens-remaining", "8000"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-11-30T12:50:00Z"),
    ]

    assert resets_in(windows, NOW) == 120


def test_the_windows_of_a_subscription_say_by_status_whether_they_are_used_up() -> None:
    windows = [
        ("anthropic-ratelimit-unified-5h-reset", str(int(NOW) + 600)),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-7d-reset", str(int(NOW) + 3000)),
        ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
    ]

    assert resets_in(windows, NOW) == 600


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-RateLimit-Reset", str((int(NOW) + 90) * 1000)),
        ("ratelimitbysize-reset", "90"),
        ("RateLimit-Reset", "90"),
    ],
)
def test_other_providers_name_one_window(name: str, value: str) -> None:
    """OpenRouter, Mistral, and the IETF's draft."""
    assert resets_in([(name, value)], NOW) == 90


def test_the_reset_of_something_else_is_none_of_ours() -> None:
    assert resets_in([("x-other-reset", "90"), ("x-ratelimit-resets", "90")], NOW) is None
    assert resets_in([], NOW) is None


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached for gpt-5 on TPM. Please try again in 446ms. Visit https", 0.446),
        ("Limit 30000, Used 29000. Please try again in 1.824s.", 1.824),
        ("Please try again in 6m0s.", 360),
        ("please Try Again in 1h2m3.5s", 3723.5),
        ("Requests have exceeded the limit. Please retry after 20 seconds.", 20),
        ("Please retry after 1 second.", 1),
        ("try again in 2 minutes", 120),
        ("Please retry in 34.074824224s.", 34.074824224),
        ("Please try again later.", None),
        ("Please try again in a moment", None),
        ("try again in 5", None),
        ("try again in 5 days", None),
        ("try again in 5st", None),
        ("x" * 1_000 + "try again in 5s", None),
        ("", None),
    ],
)
def test_a_sentence_may_be_all_there_is(message: str, seconds: float | None) -> None:
    assert told_in(message) == (seconds if seconds is None else pytest.approx(seconds))


@given(texts | st.from_regex(r"try again in [0-9.]{0,12}( ?[smh0-9.]{0,6})?", fullmatch=True))
def test_no_sentence_raises(message: str) -> None:
    told = told_in(message)

    assert told is None or told >= 0


def test_the_first_of_two_headers_counts() -> None:
    assert resets_in([("retry-after", "1"), ("Retry-After", "100")], NOW) == 1


def test_nobody_is_believed_for_longer_than_an_hour() -> None:
    assert resets_in([("retry-after", "999999999999999")], NOW) == MAX_RESET_SECONDS == 3_600
    assert resets_in([("retry-after", "Mon, 30 Nov 1970 11:59:00 GMT")], NOW) == 0
    assert bounded(float("inf")) is None
    assert bounded(float("nan")) is None


@given(st.lists(st.tuples(names, texts), max_size=8), st.floats(0, 4e9))
def test_hostile_headers_never_raise_and_never_bind_for_longer(
    headers: list[tuple[str, str]], now: float
) -> None:
    reset = resets_in(headers, now)

    assert reset is None or 0 <= reset <= MAX_RESET_SECONDS


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(h: int, m: int, s: int, ms: int) -> None:
    assert seconds_until(f"{h}h{m}m{s}s{ms}ms", NOW) == pytest.approx(
        h * 3600 + m * 60 + s + ms / 1000
    )


@given(st.integers(10**9, 4 * 10**9))
def test_all_forms_of_a_date_say_the_same(epoch: int) -> None:
    date = datetime.fromtimestamp(epoch, UTC)
    forms = [date.isoformat(), format_datetime(date, usegmt=True), str(epoch), str(epoch * 1000)]

    assert {seconds_until(form, NOW) for form in forms} == {epoch - NOW}
