"""What rows can be trained on as: a pair's chosen side as an answer, a prompt alone, a text."""

from tempering.data.rows import COLUMNS, Message, RowType, Values
from tempering.errors import DataError

TOKEN_TYPES = (RowType.TEXT, RowType.PROMPT_COMPLETION, RowType.PREFERENCE, RowType.PROMPT)
"""What rows can be made into for training."""


def uses_of(kind: RowType) -> list[RowType]:
    """What rows of a type can be trained on as, the most natural use first."""
    if kind in (RowType.MESSAGES, RowType.SCORED_CONVERSATION):
        return [RowType.PROMPT_COMPLETION, RowType.PROMPT, RowType.TEXT]
    if kind is RowType.TEXT:
        return [RowType.TEXT, RowType.PROMPT]
    if kind is RowType.CLASSIFICATION:
        return [RowType.TEXT, RowType.PROMPT]
    found: list[RowType] = [kind] if kind in TOKEN_TYPES else []
    if "chosen" in COLUMNS[kind] or kind is RowType.UNPAIRED_PREFERENCE:
        found.append(RowType.PROMPT_COMPLETION)
    return found + ([RowType.PROMPT] if "prompt" in COLUMNS[kind] and kind is not RowType.PROMPT else [])


def convert(values: Values, source: RowType, target: RowType) -> Values | None:
    """A row of `source` for the use of `target`; None where it is not meant for that.

    An answer that was judged bad is not learnt from, and a conversation without a turn of the user has
    no prompt.

    Raises:
        DataError: when `source` has not the columns for that.
    """
    if source is target:
        return values
    if target not in uses_of(source):
        missing = ", ".join(name for name in COLUMNS[target] if name not in COLUMNS[source])
        raise DataError(f"{source} rows cannot be used as {target} rows: they lack {missing}")
    further = {name: value for name, value in values.items() if name not in COLUMNS[source]}
    if source is RowType.SCORED_CONVERSATION:
        further["score"] = values["score"]
    if source is RowType.CLASSIFICATION:
        further["label"] = values["label"]
    if target is RowType.PROMPT and "messages" in values:
        prompt = _before_last_answer(values["messages"])
        return {**further, "prompt": prompt} if prompt else None
    if target is RowType.PROMPT and "prompt" in values:
        return {**further, "prompt": values["prompt"]}
    if source is RowType.UNPAIRED_PREFERENCE and not values["label"]:
        return None
    answer = {RowType.PREFERENCE: "chosen", RowType.UNPAIRED_PREFERENCE: "completion"}.get(source)
    if answer:
        return {**further, "prompt": values["prompt"], "completion": values[answer]}
    running: Values = {name: values[name] for name in ("text", "messages") if name in values}
    if values.get("text_pair"):
        running = {"text": f"{values['text']}\n{values['text_pair']}"}
    return {**further, **running}


def _before_last_answer(messages: list[Message]) -> list[Message]:
    """What a model is asked: all up to the last answer, or all, if it ends on a turn of the user."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    return messages[:end] if end and messages[end - 1]["role"] == "user" else []
