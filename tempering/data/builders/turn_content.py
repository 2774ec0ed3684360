"""The content of a turn as text: a string, parts, a call, or what a tool answered."""

from typing import Any

from tempering.data.builders.record import BadRow, called
from tempering.data.builders.tool_text import calls_text, json_text
from tempering.data.files.values import parsed

CALLS = ("function_call", "tool_call", "tool_calls")
TOOLS = ("tool", "function", "observation", "ipython")
"""Roles whose content is a call, and what a tool answered."""

_PARTS = ("text", "input_text", "output_text")
# Reasons name only these, so that no column of arbitrary words gives thousands of reasons.
_OTHER_PARTS = (
    *_PARTS,
    *("image", "image_url", "input_image", "audio", "audio_url", "input_audio", "output_audio"),
    *("video", "video_url", "file", "input_file", "document", "refusal", "thinking", "reasoning"),
    *("tool_use", "tool_result", "tool_call", "tool_calls", "function_call"),
)


def content_text(content: Any, role: str, column: str) -> str:
    """The text of a content that is not null.

    Args:
        role: as the file has it, in lower case.

    Raises:
        BadRow: a part of it is no text.
    """
    if role in CALLS and isinstance(parsed(content), dict | list):
        return calls_text(content, column)
    if isinstance(content, str):
        return content
    if role in TOOLS and not (isinstance(content, list) and all(map(_is_part, content))):
        return json_text(content, column)  # what a tool answered
    if not isinstance(content, list):
        raise BadRow(f"{column}: the content of a turn is {called(content)}, not a string")
    return "\n".join(_part(part, column) for part in content)


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (
        isinstance(part, dict) and ("type" in part or _text_of(part) is not None)
    )


def _part(part: Any, column: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else called(part)
    text = _text_of(part) if isinstance(part, dict) else None
    if kind in _PARTS and text is None:
        raise BadRow(f"{column}: a part of the content is an object without a text")
    if kind not in _PARTS or not isinstance(text, str):
        nameable = not isinstance(part, dict) or kind in _OTHER_PARTS
        raise BadRow(f"{column}: a part of the content is {f'{kind!r}, ' if nameable else ''}not text")
    return text


def _text_of(part: dict[str, Any]) -> Any:
    return next((part[name] for name in ("text", "value", "content") if part.get(name) is not None), None)
