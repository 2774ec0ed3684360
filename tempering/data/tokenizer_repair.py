"""Complete an external tokenizer.

Training needs an EOS token, a different pad token and a chat template. EOS cannot be invented (the model
must know it); the others are added and named, so that the stage can log them and the model's embeddings can
grow.
"""

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from tempering.data.prompt_format import Unfit, apply_template, render_prompt
from tempering.data.template_limits import limited
from tempering.data.token_ids import leading_ids
from tempering.data.tokenizers import PAD, chat_template
from tempering.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = [{"role": role, "content": f"{role} says this"} for role in ("user", "assistant") * 2]
_MARK = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")


def missing_pieces(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Add what `tokenizer` lacks, in place; returns the changes in words, for the log.

    Templates without `{% generation %}` marks get them if their output does not change. Others stay as they
    are: our masks come from rendering (see `prompt_format`), never from marks.

    Raises:
        DataError: it has no EOS token, or is not a fast tokenizer.
    """
    if not tokenizer.is_fast:
        raise DataError(
            "the tokenizer is not a fast one", fix="convert it with transformers' convert_slow_tokenizer"
        )
    if tokenizer.eos_token is None:
        raise DataError(
            "the tokenizer has no EOS token, so a model could never learn to stop",
            expected="eos_token in its tokenizer_config.json",
            fix="take a tokenizer that has one, or train one with `kind: train`",
        )
    return [*_distinct_pad(tokenizer), *_marked_template(tokenizer)]


def _distinct_pad(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    if tokenizer.pad_token is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return []
    reason = "it had none" if tokenizer.pad_token is None else "it was the EOS token"
    added = tokenizer.add_special_tokens({"pad_token": PAD})
    growth = f"; the vocabulary grew to {len(tokenizer)}" if added else ""
    return [f"pad token set to {PAD} ({reason}){growth}"]


def _marked_template(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    template = tokenizer.chat_template
    if template is None:
        # Templates write BOS themselves; so must this one if the tokenizer puts BOS before a text.
        begin = "{{ bos_token }}" if leading_ids(tokenizer) else ""
        tokenizer.chat_template = begin + chat_template("plain")
        return ["chat template set to `Question: ... Answer: ...` (it had none)"]
    with suppress(Unfit):  # a template may refuse a conversation, but it must be one, and end
        render_prompt(tokenizer, _PROBE[:1], "chat")
    for ours in (chat_template("chat"), chat_template("plain")):
        if template != ours and _bare(template) == _bare(ours):
            tokenizer.chat_template = ours
            return ["chat template given its {% generation %} marks"]
    return _marked_by_trl(tokenizer) if isinstance(template, str) and not _MARK.search(template) else []


def _marked_by_trl(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Use TRL's marked form of a well-known family's template if it renders the same text."""
    from jinja2 import TemplateError
    from trl.chat_template_utils import get_training_chat_template

    try:
        with limited():
            template = get_training_chat_template(tokenizer)
        if template is None or not _MARK.search(template):
            return []
        if apply_template(tokenizer, _PROBE) != apply_template(tokenizer, _PROBE, template):
            return []
    except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError):
        return []  # a family it does not know, or a template that refuses such a conversation
    tokenizer.chat_template = template
    return ["chat template given its {% generation %} marks"]


def _bare(template: object) -> str:
    """A template without generation marks and white space."""
    return re.sub(r"\s+", "", _MARK.sub("", str(template)))
