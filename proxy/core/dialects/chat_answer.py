"""Puts an answer together, streamed or not, for chat completions and legacy completions."""

import msgspec

from proxy.core.dialects.chat_parts import Call, Choice, Said, read_parts
from proxy.core.dialects.output_count import OutputCount
from proxy.core.dialects.template_making import Delta
from proxy.core.usage import Answer, ToolCall

_LEGACY_INDEX = -1  # of `function_call`, which has no index and no id


class _Call:
    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []


class _Choice:
    __slots__ = ("by_index", "calls", "finish_reason", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: list[_Call] = []
        self.by_index: dict[int, _Call] = {}
        self.finish_reason: str | None = None

    def call_of(self, delta: Call, name: str) -> _Call:
        """The call that a delta goes on with. Without an index, a name or id begins a new one; so
        does another id with a name under a used index (Gemini numbers all parallel calls 0)."""
        if delta.index is None:
            known = None if (name or delta.id or not self.calls) else self.calls[-1]
        else:
            known = self.by_index.get(delta.index)
            if known and name and delta.id and known.call_id not in ("", delta.id):
                known = None
        if known is None:
            known = _Call()
            self.calls.append(known)
            if delta.index is not None:
                self.by_index[delta.index] = known
        return known

    def delta_of(self, delta: Call) -> Delta | None:
        """Arguments of a call that is known by its index."""
        _, arguments = delta.called
        known = None if delta.index is None else self.by_index.get(delta.index)
        return Delta(arguments, known.arguments) if known and arguments else None


class AnswerBuilder:
    """What has come so far of one answer, counted in `count`.

    committed: something has come that a client would show or act on. finished: each choice that
    has been seen has its finish reason. Of several choices, the answer is the first.
    """

    __slots__ = ("_choices", "_open", "committed", "count", "finished")

    def __init__(self, count: OutputCount) -> None:
        self.committed = False
        self.finished = False
        self.count = count
        self._choices: dict[int, _Choice] = {}
        self._open = 0

    def answer(self, response_id: str | None) -> Answer:
        if not self._choices:
            return Answer(response_id=response_id)
        first = self._choices[min(self._choices)]
        calls = (ToolCall(call.call_id, call.name, "".join(call.arguments)) for call in first.calls)
        return Answer("".join(first.text), tuple(calls), response_id, first.finish_reason)

    def take(self, choice: Choice, said: Said | None) -> None:
        """Adds one choice of a chunk (`said`: its delta) or of a whole answer (its message).

        Raises msgspec.DecodeError for content parts that are none.
        """
        index = choice.index or 0
        so_far = self._choices.get(index)
        if so_far is None:
            so_far = self._begin(index)
        if said is not None:
            content = said.content
            if isinstance(content, str) and content:
                self._add_text(so_far, content)
            elif content:
                self._add_parts(so_far, content)
            if (
                said.tool_calls
                or said.reasoning_content
                or said.reasoning
                or said.refusal
                or said.reasoning_details
                or said.function_call
                or said.audio
            ):
                self._take_more(so_far, said)
        if choice.text:
            self._add_text(so_far, choice.text)
        if choice.finish_reason is not None:
            self._open -= so_far.finish_reason is None
            self.finished = not self._open
            so_far.finish_reason = choice.finish_reason

    def delta_of(self, choice: Choice) -> Delta | None:
        """What it brings, where that is one text for what has begun already; changes nothing."""
        so_far, said = self._choices.get(choice.index or 0), choice.delta
        if so_far is None or choice.finish_reason is not None:
            return None
        if said is None:
            return Delta(choice.text, so_far.text) if choice.text else None
        if (
            choice.text
            or said.refusal
            or said.reasoning_details
            or said.function_call
            or said.audio
        ):
            return None
        brought: list[Delta | None] = []
        if said.content:
            written = said.content
            brought.append(Delta(written, so_far.text) if isinstance(written, str) else None)
        brought += [Delta(one, None) for one in (said.reasoning_content, said.reasoning) if one]
        brought += [so_far.delta_of(call) for call in said.tool_calls or ()]
        return brought[0] if len(brought) == 1 else None

    def _begin(self, index: int) -> _Choice:
        begun = self._choices[index] = _Choice()
        self._open += 1
        self.finished = False
        return begun

    def _take_more(self, so_far: _Choice, said: Said) -> None:
        if reasoning := said.reasoning_content or said.reasoning:
            self._add(reasoning)
        for call in said.tool_calls or ():
            self._add_call(so_far, call)
        if said.refusal:
            self._add_text(so_far, said.refusal)
        if said.function_call is not None:
            self._add_call(so_far, Call(index=_LEGACY_INDEX, function=said.function_call))
        if said.reasoning_details:  # encrypted, or the same as `reasoning`
            self.committed = True
        if said.audio:
            self.committed = True
            self.count.add_audio(sum(len(memoryview(part)) for part in said.audio.values()))

    def _add_parts(self, so_far: _Choice, parts: list[msgspec.Raw]) -> None:
        for part, raw in read_parts(parts):
            if part.thinking:
                self._add(bytes(raw).decode())
            elif part.said:
                self._add_text(so_far, part.said)

    def _add_call(self, so_far: _Choice, delta: Call) -> None:
        name, arguments = delta.called
        call = so_far.call_of(delta, name)
        call.call_id = call.call_id or delta.id or ""
        if not call.name:
            call.name = name
            self.count.add_call(name)
        call.arguments.append(arguments)
        self._add(arguments)

    def _add_text(self, so_far: _Choice, text: str) -> None:
        so_far.text.append(text)
        self.committed = True
        self.count.add(text)

    def _add(self, text: str) -> None:
        self.committed = True
        self.count.add(text)


def plain_text(choice: Choice) -> str | None:
    """What a choice of a whole answer says that is nothing but a text, as most are; None for others
    (and for parts)."""
    said = choice.message
    if said is None:
        return choice.text or ""
    if choice.text or said.tool_calls or said.refusal or said.function_call:
        return None
    content = said.content or ""
    return content if isinstance(content, str) else None
