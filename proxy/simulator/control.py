"""`/__sim/…`: the journal, the sums and the faults, for tests that are not in this process."""

from collections.abc import Mapping

import msgspec

from proxy.errors import UNREADABLE
from proxy.simulator.conversation import mapping
from proxy.simulator.faults import BadFault, Fault, FaultBoard, Rule, make_fault, parse_faults
from proxy.simulator.journal import Journal

_MOST_SHOWN = 1_000
_RULE_KEYS = ("fault", "faults", "model", "path", "times")
HELP = {
    "GET /__sim/journal?limit=N": "the newest N requests, the oldest of them first",
    "DELETE /__sim/journal": "forgets requests and totals",
    "GET /__sim/totals": "sums over all requests",
    "GET|POST|DELETE /__sim/faults": 'faults at run time: {"fault": "status=503", "times": 2}',
}


class Control:
    """Answers the simulator's own endpoints. Open to whoever reaches the port: no credential."""

    def __init__(self, journal: Journal, board: FaultBoard) -> None:
        self._journal, self._board = journal, board

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, object]:
        """Status and JSON."""
        match method, path.removeprefix("/__sim/"):
            case "GET", "journal":
                return self._entries(query.get("limit", "100"))
            case "DELETE", "journal":
                self._journal.clear()
                return 200, {"cleared": True}
            case "GET", "totals":
                return 200, self._journal.totals
            case "GET", "faults":
                return 200, {"rules": self._board.rules}
            case "POST", "faults":
                return self._add(body)
            case "DELETE", "faults":
                self._board.rules.clear()
                return 200, {"rules": []}
            case _:
                return 404, {"error": f"no {method} {path}", "endpoints": HELP}

    def _entries(self, limit: str) -> tuple[int, object]:
        if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_SHOWN:
            return 400, {"error": f"limit: must be from 1 to {_MOST_SHOWN}, got {limit!r}"}
        shown = self._journal.entries[-int(limit) :]
        return 200, {"requests": [entry.shown() for entry in shown]}

    def _add(self, body: bytes) -> tuple[int, object]:
        try:
            self._board.rules.append(_rule(msgspec.json.decode(body)))
        except (BadFault, *UNREADABLE) as error:
            return 400, {"error": str(error)}
        return 200, {"rules": self._board.rules}


def _rule(wanted: object) -> Rule:
    rule = mapping(wanted)
    if unknown := [key for key in rule if key not in _RULE_KEYS]:
        raise BadFault(f"unknown key {unknown[0]!r} (allowed: {', '.join(_RULE_KEYS)})")
    asked = rule.get("faults", rule.get("fault"))
    faults = [f for one in (asked if isinstance(asked, list) else [asked]) for f in read_fault(one)]
    times = rule.get("times")
    if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
        raise BadFault(f"'times' must be a number above 0, got {times!r}")
    return Rule(tuple(faults), str(rule.get("model", "*")), str(rule.get("path", "*")), times)


def read_fault(value: object) -> tuple[Fault, ...]:
    """A fault as text (`status=503;times=2`) or as a mapping (`{name: status, arg: 503}`).

    Raises BadFault.
    """
    if isinstance(value, str):
        return parse_faults(value)
    if not isinstance(value, Mapping) or "name" not in value:
        raise BadFault(f"a fault is a text or a mapping with a name, got {value!r}")
    options = {str(key): option for key, option in value.items() if key not in ("name", "arg")}
    return (make_fault(str(value["name"]), value.get("arg"), options),)
