"""The names of keys. All of a tenant share one hash tag, so that one script may touch them.

What a key holds (p: the prefix and the tenant's tag, `holdfast:{team-a}`):

    p:s:SESSION  its newest end, `redis_requests.Tip`      p:e:SESSION  its log: chain and event
    p:h:SESSION  open holds                               p:c:SESSION  contents
    p:k:SESSION  digests that name it                     p:l:XXX      sessions by digest
    p:b:ACCOUNT  a balance                                p:bz         accounts by when touched
    p:z          sessions by update; p:z:s:STATE, p:z:a:AGENT: those of a state, of an agent
    p:d          holds by deadline                        p:q, p:w     handoffs, owed webhooks
    p:o, p:on    what is to be carried out in another slot of a cluster, and its numbering
    p:v          claims that came to nothing
    p:x:SESSION  that it was deleted whole, a little while ago

The shared tag is `{*}`: accounts of no tenant, and `t` the tenants, `id` the ledger's name, `p`
pending claims, `a` how far each tenant's `o` was carried out.
"""

import re
from functools import lru_cache

_ESCAPED = re.compile(r"[%{}*]|^$")


@lru_cache(4_096)
def tag(prefix: str, tenant: str) -> str:
    """What the keys of a tenant begin with."""
    escaped = _ESCAPED.sub(lambda found: f"%{ord(found[0] or '-'):02X}", tenant)
    return f"{prefix}:{{{escaped}}}"


def shared(prefix: str) -> str:
    """What the keys of no tenant begin with."""
    return f"{prefix}:{{*}}"


@lru_cache(4_096)
def account_key(prefix: str, account: str) -> str:
    """Where an account lies: with the tenant in its name (core/windows.py, core/tree.py)."""
    tenant = _tenant_of(account)
    return f"{shared(prefix) if tenant is None else tag(prefix, tenant)}:b:{account}"


def account_name(key: str) -> str:
    return key.partition("}:b:")[2]


def _tenant_of(account: str) -> str | None:
    """None where the name is not one of those that tell it."""
    match account.split(":"):
        case ["tenant", *tenant, _, _] if tenant:
            return ":".join(tenant)
        case ["agent", who, *_] if "/" in who:
            return who.partition("/")[0]
        case ["tree", tenant, _, *_]:
            return tenant
    return None
