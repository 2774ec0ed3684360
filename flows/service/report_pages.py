"""The pages around the reports: the list of them, and a message. Plain HTML without scripts.

All that is not ours (names, verdicts) is escaped.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from flows.service.report_list import Report

_MOST = 200  # rows of the list
_STYLE = """
:root{color-scheme:light dark;--bg:#fcfbf9;--card:#fff;--ink:#1c1e22;--quiet:#61656c;--rule:#e5e2dc;
--link:#2868c8}
@media (prefers-color-scheme:dark){:root{--bg:#141619;--card:#1b1e22;--ink:#e9e7e2;--quiet:#9ea3ab;
--rule:#2d3137;--link:#74a8ff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1120px;padding:56px 24px 96px;background:var(--bg);color:var(--ink);
font:16px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,
"Liberation Sans",sans-serif}
h1,p,ol{margin:0}
.brand{font-size:13px;letter-spacing:.09em;text-transform:uppercase;color:var(--quiet)}
h1{font-size:clamp(28px,4.4vw,42px);line-height:1.15;letter-spacing:-.022em;font-weight:680;margin:6px 0 12px}
.quiet{color:var(--quiet);font-size:15px}
a{color:var(--link)}
ol{list-style:none;padding:0;margin-top:32px;background:var(--card);border:1px solid var(--rule);
border-radius:10px}
li+li{border-top:1px solid var(--rule)}
li>*{display:grid;grid-template-columns:150px 180px minmax(0,1fr);column-gap:24px;padding:14px 20px;
color:inherit;text-decoration:none;overflow-wrap:anywhere}
li>a b{color:var(--link)}
li>a:hover b,li>a:focus-visible b{text-decoration:underline}
time{color:var(--quiet);font-variant-numeric:tabular-nums;white-space:nowrap}
b{font-weight:600}
@media (max-width:720px){body{padding:32px 16px 64px}
li>*{grid-template-columns:minmax(0,1fr) auto;row-gap:6px;padding:14px 16px}
li span{grid-column:1/-1}}
"""


def list_page(reports: Sequence[Report]) -> bytes:
    """The reports, in their order, each a link to its page."""
    rows = "".join(f"<li>{_row(report)}</li>\n" for report in reports[:_MOST])
    count = f"{len(reports)} report{'' if len(reports) == 1 else 's'}, newest first"
    if len(reports) > _MOST:
        count += f"; the newest {_MOST} are shown, <code>temper artifacts list</code> names all"
    empty = "None yet: the report stage of a run makes them."
    body = f'<p class="quiet">{count if reports else empty}</p>\n' + (f"<ol>\n{rows}</ol>" if reports else "")
    return _page("Reports", body)


def message_page(title: str, text: str) -> bytes:
    """One message, with the way back to the list."""
    return _page(title, f'<p>{escape(text)}</p>\n<p class="quiet"><a href="/">All reports</a></p>')


def _row(report: Report) -> str:
    # The link holds the whole row; a report that cannot be read has none.
    text = (
        f"<b>{escape(report.pipeline)}</b>"
        f"<time>{_moment(report.created)}</time><span>{escape(report.verdict)}</span>"
    )
    return f"<div>{text}</div>" if report.manifest is None else f'<a href="/{quote(report.id)}/">{text}</a>'


def _moment(created: str) -> str:
    try:
        return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # a folder that somebody has named
        return "unknown"


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)} · Tempering</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<p class="brand">Tempering</p>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n'
    ).encode()
