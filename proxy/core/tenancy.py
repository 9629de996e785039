"""Whose budget a call is on: the tenant, told by the caller's credential and by nothing else.

A credential is only hashed here: it is never kept, logged or put into an error.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import parse_qsl

from proxy.core.decision import Refusal
from proxy.core.policy import Tenant
from proxy.errors import MalformedRequest

ANONYMOUS = "anonymous"
CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
_IN_QUERIES = frozenset({"key", "api_key", "api-key", "access_token", "subscription-key"})
_MAY_HOLD_ONE = re.compile("key|token|%", re.IGNORECASE)


def credential_of(headers: Iterable[tuple[str, str]]) -> str | None:
    """The caller's credential, None where there is none.

    Raises MalformedRequest for two different ones: the provider would take the one and the budget
    be counted on the other, so that a made-up key beside the real one were a fresh budget.
    """
    found: str | None = None
    for name, value in headers:
        if name.lower() not in CREDENTIAL_HEADERS:
            continue
        scheme, _, token = value.strip().partition(" ")
        credential = token.strip() if scheme.lower() == "bearer" else value.strip()
        if not credential:
            continue
        if found is not None and not hmac.compare_digest(_bytes(found), _bytes(credential)):
            raise MalformedRequest("two different credentials in one request; send one of them")
        found = credential
    return found


def credentials_in(query: str) -> list[tuple[str, str]]:
    """What a query holds that a provider may take for a credential (Google's `key`, Azure's
    `subscription-key`), as the header that it stands for."""
    if _MAY_HOLD_ONE.search(query) is None:  # Claude Code's beta=true
        return []
    pairs = parse_qsl(query.replace(";", "&"), errors="surrogateescape")
    return [("x-api-key", value) for name, value in pairs if name.lower() in _IN_QUERIES]


def tenant_of(
    credential: str | None,
    *,
    upstream_has_own_key: bool,
    tenants: Iterable[Tenant],
    unknown_credentials: Literal["anonymous", "reject"],
    hmac_key: bytes,
) -> str | Refusal:
    """The tenant's name; a Refusal where the upstream's key is ours and the caller is not known.

    A caller's own key is checked by the provider, so each is a tenant of its own. Where the key is
    ours nobody checks theirs, and a made-up one must not be a fresh budget: all are `anonymous`.
    """
    named = None if credential is None else _named(credential, tenants)
    if named is not None:
        return named
    if upstream_has_own_key and unknown_credentials == "reject":
        message = "This credential is not known here. Use one that the policy's tenants list."
        return Refusal(401, "unknown_credentials", "authentication_error", message)
    if upstream_has_own_key or credential is None:
        return ANONYMOUS
    return "t_" + digest_of(credential, hmac_key).hex()[:16]


def digest_of(credential: str, hmac_key: bytes) -> bytes:
    """16 bytes that stand for a credential wherever one is told from another."""
    return hmac.digest(hmac_key, _bytes(credential), "sha256")[:16]


def _named(credential: str, tenants: Iterable[Tenant]) -> str | None:
    """Every hash is compared, and each in constant time: how long it takes tells nothing."""
    presented = hashlib.sha256(_bytes(credential)).hexdigest().encode()
    name = None
    for tenant in tenants:
        for key_hash in tenant.key_hashes:
            wanted = key_hash.lower().removeprefix("sha256:")
            if hmac.compare_digest(presented, _bytes(wanted)):
                name = tenant.name
    return name


def _bytes(text: str) -> bytes:
    """Header text as it came, whatever bytes it held."""
    return text.encode("utf-8", "surrogatepass")
