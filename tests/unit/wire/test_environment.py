"""Which proxy the environment names for an origin."""

import pytest

from proxy.wire.environment import Proxy, proxy_rules

THROUGH = {"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://other:3128"}


def proxied(no_proxy: str, host: str, port: int = 443) -> bool:
    """Whether this host is reached through the proxy."""
    return proxy_rules(THROUGH | {"NO_PROXY": no_proxy}).proxy_for("https", host, port) is not None


def test_each_scheme_has_its_proxy() -> None:
    """They are two variables."""
    rules = proxy_rules(THROUGH)

    assert rules.proxy_for("https", "api.openai.com", 443) == Proxy(False, "proxy", 3128, None)
    assert rules.proxy_for("http", "api.openai.com", 80) == Proxy(False, "other", 3128, None)
    assert proxy_rules({}).proxy_for("https", "api.openai.com", 443) is None


def test_the_lower_case_variable_wins() -> None:
    """As in curl, where the upper-case one came later."""
    rules = proxy_rules(THROUGH | {"https_proxy": "lower:1"})

    assert rules.proxy_for("https", "h", 443) == Proxy(False, "lower", 1, None)


def test_credentials_become_a_header_and_leave_the_url() -> None:
    """So that no log and no key of a pool holds them."""
    rules = proxy_rules({"https_proxy": "http://u%40x:p%3A@proxy"})

    assert rules.proxy_for("https", "h", 443) == Proxy(False, "proxy", 80, "Basic dUB4OnA6")


@pytest.mark.parametrize("value", ["socks5://h:1", "http://", "http://h:port"])
def test_a_proxy_that_cannot_be_used_is_an_error_at_start(value: str) -> None:
    """Going direct instead would leave the network that the operator chose."""
    with pytest.raises(ValueError, match=r".+"):
        proxy_rules({"https_proxy": value})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "LOCALHOST"])
def test_loopback_is_always_direct(host: str) -> None:
    """A model server in the same pod is not on the other side of the proxy."""
    assert not proxied("", host)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("*", "any.example", 443),
        ("example.com", "example.com", 443),
        ("example.com", "a.example.com", 443),
        ("other, EXAMPLE.com ", "a.Example.com.", 443),
        (".example.com", "a.example.com", 443),
        ("*.example.com", "a.example.com", 443),
        ("example.com:443", "example.com", 443),
        ("10.1.2.3", "10.1.2.3", 443),
        ("10.0.0.0/8", "10.1.2.3", 443),
        ("fd00::/8", "fd00::1", 443),
        ("[fd00::1]:443", "fd00::1", 443),
        ("fd00::1", "fd00::1", 443),
    ],
)
def test_what_no_proxy_names_is_direct(no_proxy: str, host: str, port: int) -> None:
    """Hosts, domains, ports, addresses and blocks, as clusters set them."""
    assert not proxied(no_proxy, host, port)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("", "example.com", 443),
        ("example.com", "badexample.com", 443),
        ("example.com", "example.com.evil", 443),
        (".example.com", "example.com", 443),
        ("example.com:80", "example.com", 443),
        ("10.0.0.0/8", "11.1.2.3", 443),
        ("10.0.0.0/8", "ten.example", 443),
        ("10.0.0.0/rubbish", "10.1.2.3", 443),
        ("10.1.2.3", "10.1.2.30", 443),
    ],
)
def test_what_only_looks_like_it_goes_through_the_proxy(
    no_proxy: str, host: str, port: int
) -> None:
    """A suffix is of whole labels."""
    assert proxied(no_proxy, host, port)
