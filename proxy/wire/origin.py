"""Where requests go: scheme, host and port of a provider, and the proxy on the way there."""

import re
from dataclasses import dataclass, field
from typing import Final

from proxy.errors import MalformedRequest, UpstreamUnavailable
from proxy.wire import Headers
from proxy.wire.environment import Proxy, ProxyRules
from proxy.wire.upstream import UpstreamConnection

_BASE: Final = re.compile(
    r"(https?)://(?:[^/?#@]*@)?((?:\[([0-9a-f:.]+(?:%\w+)?)\]|([\w.-]+))(?::([0-9]{1,5}))?)",
    re.IGNORECASE | re.ASCII,
)
_NOT_IN_A_TARGET: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """A provider. `authority` as it was spelt, `host` without brackets.

    `kept`: connections that wait for a request, the last used at the end. `own_headers` and
    `target_prefix` are what each request here begins with, beside its method.
    """

    secure: bool
    host: str
    port: int
    authority: str
    proxy: Proxy | None
    target_prefix: str
    own_headers: Headers
    kept: dict[UpstreamConnection, None] = field(default_factory=dict)


def origin_of(base: str, rules: ProxyRules) -> Origin:
    """Raises UpstreamUnavailable where `base` (scheme, authority) is not one.

    Plain HTTP goes to a proxy as it is, in absolute form; for TLS the proxy opens a tunnel.
    """
    found = _BASE.fullmatch(base)
    scheme, authority, ipv6, name, port = found.groups() if found else ("",) * 5
    if not authority or int(port or 0) > 65_535:
        raise UpstreamUnavailable(f"{base}: not the base of an HTTP URL", sent=False)
    secure = scheme.lower() == "https"
    number = int(port or (443 if secure else 80))
    proxy = rules.proxy_for(scheme.lower(), ipv6 or name, number)
    own: Headers = (("Host", authority),)
    relayed = proxy is not None and not secure
    if proxy is not None and relayed and proxy.authorization is not None:
        own += (("Proxy-Authorization", proxy.authorization),)
    prefix = f"http://{authority}" if relayed else ""
    return Origin(secure, ipv6 or name, number, authority, proxy, prefix, own)


def split(url: str) -> tuple[str, str]:
    """Scheme and authority, and the target as it stands. Raises MalformedRequest."""
    start = url.find("://") + 3
    ends = [i for i in (url.find("/", start), url.find("?", start)) if i >= 0]
    end = min(ends, default=len(url))
    target = url[end:]
    if _NOT_IN_A_TARGET.search(target):
        raise MalformedRequest("a request target holds no blanks or control characters")
    return url[:end], target if target.startswith("/") else f"/{target}"
