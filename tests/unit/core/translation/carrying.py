"""What a translated request holds, as rows of the tables in docs/translation.md."""

import json
from typing import Any

from proxy.core.translation.base import Translation, Untranslatable

Json = dict[str, Any]

BOUND = 4321


def request(translation: Translation, body: Json) -> Json:
    """The body that the provider is sent."""
    written = translation.request(json.dumps(body).encode(), output_bound=BOUND)
    told: Json = json.loads(written)
    return told


def why_not(translation: Translation, body: Json) -> str:
    """Why it cannot be translated; "" where it can."""
    try:
        request(translation, body)
    except Untranslatable as error:
        return error.why
    return ""
