"""How long a key lives that nobody touches."""

from proxy.stores.redis_expiry import MARGIN_SECONDS, Expiry

DAY = 86_400


def test_whoever_asks_first_hears_of_a_longer_retention() -> None:
    """Else a log would keep its old end, and be gone before what names it."""
    now, days = [1_000.0], [7]
    expiry = Expiry(DAY, lambda: days[0] * DAY, lambda: now[0])
    assert (expiry.seconds, expiry.since) == (7 * DAY + MARGIN_SECONDS, 1_000.0)

    now[0], days[0] = 2_000.0, 90
    assert expiry.since == 2_000.0
    now[0], days[0] = 3_000.0, 30
    assert (expiry.since, expiry.seconds) == (2_000.0, 30 * DAY + MARGIN_SECONDS)
