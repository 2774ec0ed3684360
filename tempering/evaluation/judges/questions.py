"""The question that a judge of words is asked, and how its answer is read.

Each pair is asked about twice, with the completions in both orders, since judges prefer what stands first
(Zheng et al. 2023, https://arxiv.org/abs/2306.05685). The template is rendered in Jinja's immutable sandbox.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempering.config import runtime_field
from tempering.errors import ConfigError
from tempering.evaluation.judges.base import JudgeConfig, Messages

BUILT_IN_TEMPLATE = Path(__file__).parent / "templates" / "pairwise.jinja"
_ANSWER = re.compile(
    r"[\s*_`#>-]*(?:(?:my |the |final )*(?:verdict|answer|choice|winner|better answer)[\s*_`]*"
    r"(?::|=|is)[\s*_`]*)?"
    r"[\[(\"'*_`]*(A|B|C|tie)[\])\"'*_`.!]*",
    re.I,
)
_LETTERS = {"a": "A", "b": "B", "c": "tie", "tie": "tie"}


def template_file(template: str | None) -> Path:
    """The file of a judge's question.

    Raises:
        ConfigError: it does not exist.
    """
    file = Path(template).expanduser() if template else BUILT_IN_TEMPLATE
    if not file.is_file():
        raise ConfigError(
            f"the judge's template {template} does not exist",
            expected="a Jinja file that asks which of two answers is better, A or B",
            fix="correct `template`, or remove it to use the built-in one",
        )
    return file


class AskingJudge(JudgeConfig):
    """Settings of the judges that are asked in words."""

    # Hashed by its bytes, not by its name.
    template: str | None = runtime_field(
        None, description="Jinja file of the question; null: the built-in one"
    )

    def external_files(self) -> tuple[Path, ...]:
        """The question: changing it changes the result. A bad one is refused here, when a run is planned."""
        file = template_file(self.template)
        if self.template:
            Question(file).check()
        return (file,)

    def named_files(self) -> tuple[tuple[str, Path], ...]:
        """The question under a fixed name: its path changes nothing."""
        return (("template", template_file(self.template)),)


class Question:
    """Renders a template with `prompt`, `messages`, `first` and `second`."""

    def __init__(self, file: Path) -> None:
        from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.name = file.name
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)
        try:
            self.template: Any = environment.from_string(file.read_text(encoding="utf-8"))
        except (TemplateError, UnicodeDecodeError) as error:
            line = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
            raise ConfigError(
                f"the judge's template {file.name} cannot be read: {error}{line}",
                expected="a Jinja file in UTF-8, with {{ first }} and {{ second }}",
                fix="correct the template, or remove `template` to use the built-in one",
            ) from None

    def check(self) -> None:
        """Refuse a question in which one of the two answers does not stand.

        Raises:
            ConfigError: the template fails, or does not use them.
        """
        prompt = [{"role": "user", "content": "a prompt"}]
        question = self.render(prompt, "an answer", "another")
        for name, answers in (("first", ("changed", "another")), ("second", ("an answer", "changed"))):
            if self.render(prompt, *answers) == question:
                raise ConfigError(
                    f"the judge's template {self.name} asks the same whatever the answers are: "
                    f"it does not use `{name}`",
                    expected="both answers: {{ first }} and {{ second }}",
                    fix="correct the template",
                )

    def both_orders(
        self, prompts: Sequence[Messages], first: Sequence[str], second: Sequence[str]
    ) -> list[str]:
        """Two questions a pair: as they stand, and with the second completion first."""
        return [
            self.render(prompt, *texts)
            for prompt, one, other in zip(prompts, first, second, strict=True)
            for texts in ((one, other), (other, one))
        ]

    def render(self, prompt: Messages, first: str, second: str) -> str:
        """The question about a pair.

        Raises:
            ConfigError: the template fails.
        """
        from tempering.data.prompt_format import plain_text

        variables = {"prompt": plain_text(prompt), "messages": prompt, "first": first, "second": second}
        try:
            return str(self.template.render(variables)).encode("utf-8", "replace").decode()
        except Exception as error:  # a template may divide by zero, call what is none, ...
            raise ConfigError(
                f"the judge's template {self.name} fails: {type(error).__name__}: {error}",
                expected=f"variables from: {', '.join(variables)}",
                fix="correct the template",
            ) from None


def parse_choice(text: str) -> str | None:
    """`A`, `B` or `tie`: the whole answer or its last line, such as `Verdict: A` or `[[A]]`; else None."""
    lines = text.strip().splitlines()
    choice = _ANSWER.fullmatch(text.strip()) or (_ANSWER.fullmatch(lines[-1].strip()) if lines else None)
    return _LETTERS[choice[1].lower()] if choice else None
