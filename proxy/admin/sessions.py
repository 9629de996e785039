"""The session that a request is about, and how it is shown."""

from aiohttp import web

from proxy.admin.door import Site
from proxy.admin.replies import json_response
from proxy.admin.shapes import Json, session_json
from proxy.core.policy import Caller, limits_for
from proxy.core.session import SessionKey, SessionState


async def key_of(site: Site, request: web.Request) -> SessionKey:
    """Raises as `Control.find`."""
    session, tenant = request.match_info["session"], request.query.get("tenant")
    return await site.control.find(session, tenant)


def shown(site: Site, key: SessionKey, state: SessionState) -> dict[str, Json]:
    """With the limits of the policy in force."""
    caller = Caller(key.tenant, state.agent, state.model)
    return session_json(key, state, limits_for(site.watcher.loaded.policy, caller))


def session_response(site: Site, key: SessionKey, state: SessionState) -> web.Response:
    return json_response(shown(site, key, state))
