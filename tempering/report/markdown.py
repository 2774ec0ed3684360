"""The report as Markdown, for terminals and other pages: the numbers of the page without its pictures.

All text is data: whatever is printed by the template is escaped, so that no name or message is markup.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from tempering.printable import as_markdown, visible
from tempering.report.numbers import count


def render(values: Mapping[str, Any]) -> str:
    """The Markdown of a report's `values`, which are those of the page."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = count
    environment.filters["title_and_rows"] = lambda fold: (fold.title, fold.rows)
    return environment.get_template("report.md.jinja").render(**values)


def _escaped(value: Any) -> Any:
    """What the template prints: one line of text that is no markup; `Markup` is the template's own."""
    return value if isinstance(value, Markup) else as_markdown(visible(str(value).replace("\n", " ")))
