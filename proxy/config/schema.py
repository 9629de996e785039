"""The JSON Schema of a policy file, made from the table of keys."""

from typing import Final

from proxy.config.load import default_document
from proxy.config.scalars import Schema
from proxy.config.table import POLICY

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def policy_schema() -> Schema:
    """Draft 2020-12; accepts what the loader takes, before the checks that look across keys."""
    environment: Schema = {
        "description": "A value from the environment: ${NAME} or ${NAME:-default}.",
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
    }
    return {
        "$schema": _DIALECT,
        "title": "Holdfast policy",
        "description": "Every key is optional; an omitted one is as in the default given here.",
        **POLICY.schema(default_document().root),
        "$defs": {"environment": environment},
    }
