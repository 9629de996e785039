"""The path of one request through the simulated provider: check, fail, answer, bill."""

import asyncio

import msgspec
from aiohttp import web

from proxy.clock import Clock
from proxy.simulator import completions, errors
from proxy.simulator.answer import Pace
from proxy.simulator.conversation import Conversation, Dialect, Rejected, listing
from proxy.simulator.delivery import Delivery
from proxy.simulator.faults import BadFault, Fault, FaultBoard, FaultKind, parse_faults
from proxy.simulator.headers import EVENTS, HTML, JSON, answer_headers, retry_headers
from proxy.simulator.ids import Ids
from proxy.simulator.journal import Entry, Journal
from proxy.simulator.provider import Prepared, Provider
from proxy.simulator.responses import encode
from proxy.simulator.routes import Endpoint, resolve
from proxy.simulator.script import Turn

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
)
_EARLY = (FaultKind.STATUS, FaultKind.RESET, FaultKind.EMPTY, FaultKind.WRONG_TYPES)
_BROKEN = b'{"id": "sim-1", "object": "chat.completion", "choices": [{"index": 0, "mess'
_WRONG = b'{"id": 7, "choices": "none", "output": 3.5, "content": {"text": []}, "usage": "free"}'


class Service:
    """Answers requests. One for all; what belongs to one request is in `_Serving`."""

    def __init__(
        self, provider: Provider, board: FaultBoard, journal: Journal, ids: Ids, clock: Clock
    ) -> None:
        self.provider, self.board, self.journal = provider, board, journal
        self.ids, self.clock = ids, clock

    async def answer(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        """Serves one request whose body has been read."""
        endpoint = resolve(request.method, request.path)
        serving = _Serving(self, request, entry, _dialect(endpoint, entry))
        try:
            return await serving.run(endpoint)
        except Rejected as rejected:
            return await serving.refuse(rejected)
        except BadFault as error:
            return await serving.refuse(Rejected(f"x-sim-fault: {error}", "x-sim-fault"))


class _Serving:
    """One request on its way."""

    def __init__(
        self, service: Service, request: web.BaseRequest, entry: Entry, dialect: Dialect
    ) -> None:
        self._service, self._request, self._entry = service, request, entry
        self._dialect = dialect
        self._clock = service.clock
        self._began = service.clock.monotonic()
        self._faults: tuple[Fault, ...] = ()

    async def run(self, endpoint: Endpoint | None) -> web.StreamResponse:
        """From the checks to the last byte. Raises Rejected, BadFault."""
        if self._request.headers.get("upgrade", "").lower() == "websocket":
            raise Rejected("This endpoint is served over HTTP only.", status=426)
        if self._request.method == "HEAD":
            return await self._send(200, b"")
        self._check_credential()
        if endpoint is None:
            at = f"{self._request.method} {self._request.path}"
            text = "Not Found" if self._dialect == "messages" else f"Invalid URL ({at})"
            raise Rejected(text, status=404)
        if endpoint.kind == "call":
            return await self._call(endpoint.dialect)
        if (failed := await self._failed_early(self._asked_faults(""))) is not None:
            return failed
        return await self._send(200, self._lookup(endpoint))

    async def refuse(self, rejected: Rejected) -> web.StreamResponse:
        """The provider's error for a request that it does not accept. Nothing is billed."""
        request_id = self._service.ids.base62("req_011C", 20)
        body = errors.rejection(self._dialect, rejected, request_id)
        extra = {"x-should-retry": "false"} if self._dialect == "messages" else {}
        return await self._send(rejected.status, body, extra)

    def _check_credential(self) -> None:
        bearer = self._entry.header("authorization") or ""
        key = self._entry.header("x-api-key") or bearer.removeprefix("Bearer").strip()
        if key and "invalid" not in key:
            return
        if self._dialect == "messages":
            text = "invalid x-api-key" if key else "x-api-key header is required"
            raise Rejected(text, status=401)
        if not key:
            raise Rejected(_NO_KEY, status=401)
        text = f"Incorrect API key provided: {key[:4]}****."
        raise Rejected(text, code="invalid_api_key", status=401)

    def _lookup(self, endpoint: Endpoint) -> bytes:
        """What needs no model to answer."""
        provider, argument = self._service.provider, endpoint.argument
        anthropic = self._dialect == "messages"
        match endpoint.kind:
            case "count":
                return provider.count(self._entry.body)
            case "models" if argument:
                return completions.model_card(argument, anthropic)
            case "models":
                return completions.model_list(anthropic)
            case "conversations":
                return self._open_conversation()
            case _ if self._request.method == "DELETE":
                provider.memory.forget(argument)
                return msgspec.json.encode({"id": argument, "object": "response", "deleted": True})
            case _:
                return encode(provider.memory.response(argument).body)

    def _open_conversation(self) -> bytes:
        provider = self._service.provider
        body = provider.json_object("responses", self._entry.body or b"{}")
        opened = provider.memory.open_conversation(listing(body.get("items")), self._service.ids)
        created = int(self._clock.now())
        return msgspec.json.encode(
            {"id": opened, "object": "conversation", "created_at": created, "metadata": {}}
        )

    async def _call(self, dialect: Dialect) -> web.StreamResponse:
        provider = self._service.provider
        if dialect == "messages" and not self._entry.header("anthropic-version"):
            raise Rejected("anthropic-version: header is required")
        conversation = provider.read(dialect, self._entry.body)
        self._entry.model, self._entry.step = conversation.model, conversation.step
        turn = provider.turn(conversation)
        faults = self._asked_faults(conversation.model) or self._turn_faults(turn, conversation)
        if (failed := await self._failed_early(faults)) is not None:
            return failed
        return await self._deliver(provider.prepare(conversation, turn, faults))

    def _asked_faults(self, model: str) -> tuple[Fault, ...]:
        """Those of the header, else those set at run time."""
        wanted = self._entry.header("x-sim-fault")
        if wanted is not None:
            return parse_faults(wanted)
        return self._service.board.take(model, self._request.path)

    def _turn_faults(self, turn: Turn, conversation: Conversation) -> tuple[Fault, ...]:
        call = msgspec.json.encode((conversation.model, conversation.parts))
        return self._service.board.live(turn.faults, call) if turn.faults else ()

    async def _failed_early(self, faults: tuple[Fault, ...]) -> web.StreamResponse | None:
        """The answer, if a fault comes before any is made; nothing is billed then."""
        self._faults = faults
        self._entry.faults = tuple(fault.kind.value for fault in faults)
        early = next((fault for fault in faults if fault.kind in _EARLY), None)
        if early is None:
            return None
        await self._clock.sleep(Pace().slowed(faults).latency)
        match early.kind:
            case FaultKind.STATUS:
                return await self._fail(early)
            case FaultKind.RESET:
                return self._delivery().reset()
            case FaultKind.EMPTY:
                return await self._send(200, b"")
            case _:
                return await self._send(200, _WRONG)

    async def _fail(self, fault: Fault) -> web.StreamResponse:
        extra = retry_headers(self._dialect, fault.at, fault.retry_after) | dict(fault.headers)
        if fault.body == "html":
            return await self._send(fault.at, errors.html(fault.at), extra, HTML)
        if fault.body == "empty":
            return await self._send(fault.at, b"", extra)
        request_id = self._service.ids.base62("req_011C", 20)
        body = errors.failure(self._dialect, fault.at, fault.message, fault.code, request_id)
        return await self._send(fault.at, body, extra)

    async def _deliver(self, prepared: Prepared) -> web.StreamResponse:
        billed, pace = prepared.answer.billed, prepared.pace
        self._entry.input_tokens = billed.input_tokens
        broken = any(fault.kind is FaultKind.MALFORMED_JSON for fault in self._faults)
        streamed = prepared.events is not None and not broken
        await self._wait(pace.latency, 0 if streamed else billed.output_tokens)
        if broken:
            return await self._send(200, _BROKEN)
        if prepared.events is None:
            self._service.provider.remember(prepared)
            return await self._send(200, prepared.body)
        headers, events = self._headers(EVENTS), self._service.provider.stored_at_end(prepared)
        named = "" if prepared.response is None else prepared.response.id
        return await self._delivery().stream(headers, events, pace, self._dialect, named)

    async def _wait(self, seconds: float, tokens: int) -> None:
        """The model works: who leaves now pays for the part that it has made."""
        began = self._clock.monotonic()
        try:
            if seconds:
                await self._clock.sleep(seconds)
        except asyncio.CancelledError:
            self._entry.output_tokens = int(tokens * (self._clock.monotonic() - began) / seconds)
            raise
        self._entry.output_tokens = tokens

    async def _send(
        self, status: int, body: bytes, extra: dict[str, str] | None = None, kind: str = JSON
    ) -> web.StreamResponse:
        headers = self._headers(kind) | (extra or {})
        return await self._delivery().body(status, headers, body)

    def _delivery(self) -> Delivery:
        service = self._service
        return Delivery(self._request, self._entry, service.journal, self._clock, self._faults)

    def _headers(self, kind: str) -> dict[str, str]:
        took_ms = int((self._clock.monotonic() - self._began) * 1000)
        return answer_headers(self._dialect, kind, self._service.ids, self._clock.now(), took_ms)


def _dialect(endpoint: Endpoint | None, entry: Entry) -> Dialect:
    """Anthropic's clients are known by a header where the path does not tell."""
    if entry.header("anthropic-version") and (endpoint is None or endpoint.kind == "models"):
        return "messages"
    return "chat" if endpoint is None else endpoint.dialect
