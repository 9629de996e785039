"""Which outgoing proxy a provider is reached through, from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

The rules are those of Go's httpproxy, which the tools around an agent follow (read 2026-11-22,
https://pkg.go.dev/golang.org/x/net/http/httpproxy): `*`, hosts with or without port, domains with
all below them, `.domain` for only those below, addresses, CIDR blocks; loopback is always direct.
`.netrc` is never looked at.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """An outgoing proxy; `secure` if TLS is spoken with it. `authorization` is the header value
    made of the credentials in its URL."""

    secure: bool
    host: str
    port: int
    authorization: str | None


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """The environment's proxies by scheme, and the hosts that are reached without one."""

    by_scheme: Mapping[str, Proxy]
    direct: tuple[str, ...]

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy to use for this origin, or None."""
        proxy = self.by_scheme.get(scheme)
        if proxy is None:
            return None
        host = host.lower().rstrip(".")
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(_matches(rule, host, port, address) for rule in self.direct):
            return None
        return proxy


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_rules(environ: Mapping[str, str]) -> ProxyRules:
    """Reads the variables; lower case wins. Raises ValueError for a proxy that cannot be used."""
    proxies = {}
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        if value := environ.get(name) or environ.get(name.upper()):
            proxies[scheme] = _proxy(name.upper(), value)
    direct = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    rules = (part.strip().lower() for part in direct.split(","))
    return ProxyRules(proxies, tuple(rule for rule in rules if rule))


def _proxy(name: str, value: str) -> Proxy:
    parts = urlsplit(value if "://" in value else f"http://{value}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name}: not the URL of an HTTP proxy (allowed: http://… or https://…)")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(secure, parts.hostname, port, authorization)


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _matches(rule: str, host: str, port: int, address: Address | None) -> bool:
    if rule == "*":
        return True
    if address is not None and "/" in rule:
        return _is_in_block(address, rule)
    name, port_of_rule = _host_and_port(rule)
    if port_of_rule is not None and port_of_rule != port:
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*")
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _is_in_block(address: Address, block: str) -> bool:
    try:
        return address in ipaddress.ip_network(block, strict=False)
    except ValueError:
        return False


def _host_and_port(rule: str) -> tuple[str, int | None]:
    host, colon, port = rule.rpartition(":")
    if colon and port.isdecimal() and (":" not in host or host.endswith("]")):
        return host, int(port)
    return rule, None
