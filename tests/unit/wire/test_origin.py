"""Where a URL leads: never elsewhere than it says, and its target as it stands."""

import pytest

from proxy.errors import MalformedRequest, UpstreamUnavailable
from proxy.wire.environment import proxy_rules
from proxy.wire.origin import origin_of, split

DIRECT = proxy_rules({})


@pytest.mark.parametrize(
    ("base", "host", "port", "secure", "authority"),
    [
        ("http://h", "h", 80, False, "h"),
        ("https://h", "h", 443, True, "h"),
        ("HTTPS://Api.Example:8443", "Api.Example", 8443, True, "Api.Example:8443"),
        ("http://u:p@h:1", "h", 1, False, "h:1"),
        ("http://127.0.0.1:80", "127.0.0.1", 80, False, "127.0.0.1:80"),
        ("https://[::1]:8443", "::1", 8443, True, "[::1]:8443"),
        ("http://[fe80::1%eth0]", "fe80::1%eth0", 80, False, "[fe80::1%eth0]"),
        ("http://model_a.svc", "model_a.svc", 80, False, "model_a.svc"),
    ],
)
def test_a_base_says_where_requests_go(
    base: str, host: str, port: int, secure: bool, authority: str
) -> None:
    """Its credentials are nobody's business: keys are headers."""
    origin = origin_of(base, DIRECT)

    assert (origin.host, origin.port, origin.secure) == (host, port, secure)
    assert (origin.authority, origin.target_prefix, origin.proxy) == (authority, "", None)
    assert origin.own_headers == (("Host", authority),)


@pytest.mark.parametrize(
    "base",
    [
        *("", "h", "//h", "ftp://h", "http:/h", "http://", "http://:80", "http://h:", "http://h:p"),
        *("http://h:65536", "http://h:-1", "http://h:+1", "http://h h", "http://h\r\nX: y"),
        *("http://h\0", "http://[::1", "http://::1", "http://[h]:1:2", "http://h\\evil"),
        *("http://bücher.example", "http://h:٣", "http://[v1.x]", "http://a@b@c"),
    ],
)
def test_what_is_no_base_leads_nowhere(base: str) -> None:
    """What one library reads as one host and another as another is refused. (A name beyond ASCII
    is written in its own encoding of it, xn--….)"""
    with pytest.raises(UpstreamUnavailable) as fault:
        origin_of(base, DIRECT)

    assert (fault.value.kind, fault.value.sent) == ("connect", False)


@pytest.mark.parametrize(
    ("base", "prefix", "credentials"),
    [
        ("http://h:81", "http://h:81", (("Proxy-Authorization", "Basic dTpw"),)),
        ("https://h", "", ()),
    ],
)
def test_a_proxy_is_told_the_whole_url_only_where_nothing_of_it_is_secret(
    base: str, prefix: str, credentials: tuple[tuple[str, str], ...]
) -> None:
    """For TLS it opens a tunnel; its credential is never for the provider."""
    rules = proxy_rules({"http_proxy": "http://u:p@proxy", "https_proxy": "http://u:p@proxy"})
    origin = origin_of(base, rules)

    assert origin.proxy is not None
    assert origin.target_prefix == prefix
    assert origin.own_headers == (("Host", base.partition("//")[2]), *credentials)


@pytest.mark.parametrize(
    ("url", "base", "target"),
    [
        ("http://h/v1/x?y=%zz//..", "http://h", "/v1/x?y=%zz//.."),
        ("https://h:1", "https://h:1", "/"),
        ("https://h?a=/b", "https://h", "/?a=/b"),
        ("https://h/?a", "https://h", "/?a"),
    ],
)
def test_a_url_is_base_and_target(url: str, base: str, target: str) -> None:
    """Nothing is requoted: the provider signed for it as it stands."""
    assert split(url) == (base, target)


@pytest.mark.parametrize("character", ["\r", "\n", "\0", " ", "\t", "\x7f"])
def test_a_target_is_one_word(character: str) -> None:
    """A request line has three."""
    with pytest.raises(MalformedRequest):
        split(f"http://h/a{character}b")
