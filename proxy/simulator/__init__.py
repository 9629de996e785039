"""The simulated provider: OpenAI's and Anthropic's APIs, scripted, failing on demand, honest.

An independent peer of the proxy: it shares no code with the dialects that it is there to test.
"""

from proxy.simulator.faults import BadFault, Fault, FaultKind
from proxy.simulator.journal import Entry, Totals
from proxy.simulator.script import Match, Price, Script, ToolCall, Turn, UsageOverride
from proxy.simulator.server import Simulator

__all__ = [
    "BadFault",
    "Entry",
    "Fault",
    "FaultKind",
    "Match",
    "Price",
    "Script",
    "Simulator",
    "ToolCall",
    "Totals",
    "Turn",
    "UsageOverride",
]
