# mypy: ignore-errors
"""Holds bodies that are given on standard input to the types of the SDKs.

A line of input is a body: {"kind", "body"}. A line of output is what is wrong with it, or "".
"""

import json
import sys
from collections.abc import Iterator, Mapping

from anthropic.types import Message, message_create_params
from openai.types.chat import ChatCompletion, completion_create_params
from pydantic import TypeAdapter, ValidationError

TYPES = {
    "messages request": message_create_params.MessageCreateParams,
    "chat request": completion_create_params.CompletionCreateParams,
    "messages answer": Message,
    "chat answer": ChatCompletion,
}
ADAPTERS = {kind: TypeAdapter(of) for kind, of in TYPES.items()}


def read_out(value):
    """Lists in requests are only looked at as they are read."""
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | Iterator) and not hasattr(value, "__next__"):
        return
    for one in value:
        read_out(one)


for line in sys.stdin:
    case = json.loads(line)
    try:
        read_out(ADAPTERS[case["kind"]].validate_python(case["body"]))
        print('""')
    except ValidationError as error:
        print(json.dumps(str(error)[:2000]))
