"""Tools, their calls and their answers as text, the same whatever a file writes them as.

OpenAI sends the arguments of a call as a string of JSON, most data sets hold an object; some write the whole
call, or the list of tools, as a string.
"""

from typing import Any

from tempering.data.builders.record import BadRow
from tempering.data.files.values import as_json, parsed

_ARGUMENTS = ("arguments", "parameters")


def calls_text(value: object, column: str) -> str:
    """The JSON of a call, or of a list of several; "" where there is none.

    Raises:
        BadRow: see `json_text`.
    """
    value = parsed(value)
    calls = [_call(call) for call in value] if isinstance(value, list) else [_call(value)] if value else []
    return json_text(calls[0] if len(calls) == 1 else calls, column) if calls else ""


def tools_text(tools: object) -> str:
    """The JSON of the tools that may be called; a string that is no JSON stays; "" where there are none.

    Raises:
        BadRow: see `json_text`.
    """
    value = parsed(tools)
    value = [parsed(tool) for tool in value] if isinstance(value, list) else value
    text = value.strip() if isinstance(value, str) else json_text(value, "tools") if value else ""
    return "" if text in ("[]", "{}", "null") else text


def json_text(value: object, column: str) -> str:
    """A value as JSON.

    Raises:
        BadRow: it holds bytes.
    """
    try:
        return as_json(value)
    except TypeError:
        raise BadRow(f"{column}: bytes, which are no text, in a call, a tool or what it answered") from None


def _call(call: Any) -> Any:
    """A call without its wrapping, and with its arguments as an object."""
    call = parsed(call)
    if not isinstance(call, dict):
        return call
    inner = call["function"] if isinstance(call.get("function"), dict) else call
    return {name: parsed(value) if name in _ARGUMENTS else value for name, value in inner.items()}
