"""Redis URLs: what each says, and what is said of one that is wrong."""

import pytest

from proxy.stores.redis_url import RedisUrl, is_redis, parse_url, shown_url


@pytest.mark.parametrize(
    ("url", "addresses", "kind", "database"),
    [
        ("redis://cache", (("cache", 6379),), "", 0),
        ("valkey://cache:7000/3", (("cache", 7000),), "", 3),
        ("redis://[::1]:7000", (("::1", 7000),), "", 0),
        ("redis://a:1?cluster=1", (("a", 1),), "cluster", 0),
        ("redis+cluster://a:1,b", (("a", 1), ("b", 6379)), "cluster", 0),
        ("redis+sentinel://a,b:2/main/4", (("a", 26379), ("b", 2)), "sentinel", 4),
    ],
)
def test_a_url_names_servers(
    url: str, addresses: tuple[tuple[str, int], ...], kind: str, database: int
) -> None:
    """As other clients of Redis write them."""
    parsed = parse_url(url)

    assert is_redis(url)
    assert (parsed.addresses, parsed.kind, parsed.database) == (addresses, kind, database)


def test_a_login_comes_from_the_url_or_from_variables() -> None:
    """A secret may hold any character, and need not stand in the policy."""
    assert parse_url("rediss://u:p%40ss@h").password == "p@ss"
    url = parse_url("redis://h?username_env=U&password_env=P", {"U": "me", "P": "p@:/ss"})

    assert (url.username, url.password) == ("me", "p@:/ss")
    assert "p@" not in repr(url)
    with pytest.raises(ValueError, match="variable P is not set"):
        parse_url("redis://h?password_env=P", {})


def test_sentinels_have_a_login_of_their_own() -> None:
    """Which is none of the servers that they watch, and is shown to nobody."""
    query = "sentinel_username=me&sentinel_password=s3cret%26"
    url = parse_url(f"redis+sentinel://u:p@h/main?{query}", {})
    assert (url.sentinel_username, url.sentinel_password) == ("me", "s3cret&")
    assert (url.username, url.password) == ("u", "p")
    assert "s3cret" not in repr(url)
    by_env = "sentinel_username_env=U&sentinel_password_env=P"
    url = parse_url(f"redis+sentinel://h/main?{by_env}", {"U": "me", "P": "s3"})
    assert (url.sentinel_username, url.sentinel_password) == ("me", "s3")

    with pytest.raises(ValueError, match="variable P is not set"):
        parse_url("redis+sentinel://h/main?sentinel_password_env=P", {})
    with pytest.raises(ValueError, match=r"only redis\+sentinel://"):
        parse_url("redis://h?sentinel_password=x", {})


def test_parameters_are_bounded() -> None:
    """What is beyond them would be found out only when it hurts."""
    url = parse_url("redis://h?timeout=0.5&replicas=1&expire_days=7&prefix=hf-a&persistence=none")
    expected = RedisUrl((("h", 6379),), "", "", 0, "", "", "hf-a", 0.5, 1, 7 * 86_400, False)

    assert url == expected
    for wrong in ("timeout=0", "replicas=x", "expire_days=0", "prefix=a{b", "colour=red", "x"):
        with pytest.raises(ValueError, match=r"store\.url|prefix|parameter|not a URL"):
            parse_url(f"redis://h?{wrong}")


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://a,b",
        "redis://h:x",
        "redis://h:99999",
        "redis://h/db",
        "redis+cluster://h/1",
        "redis+sentinel://h",
    ],
)
def test_a_wrong_url_is_told_what_is_allowed(url: str) -> None:
    """The policy loader shows the sentence as it stands."""
    with pytest.raises(ValueError, match=r"redis://HOST|database"):
        parse_url(url)


def test_what_is_shown_hides_the_password() -> None:
    """It stands in logs and in errors."""
    assert parse_url("rediss+cluster://u:secret@a:1,b").shown == "rediss+cluster://a:1,b:6379"
    shown = shown_url(
        "redis+sentinel://u:secret@a/main?timeout=1&sentinel_password=secret&prefix=b"
    )
    assert shown == "redis+sentinel://a/main?timeout=1&sentinel_password=&prefix=b"
    assert shown_url("sqlite:////a:b@c/ledger.db") == "sqlite:////a:b@c/ledger.db"
