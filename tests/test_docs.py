"""The pages hold together: every relative link, anchor and mention of a page leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "configs/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)
SOURCES = ("*.md", "docs/**/*.md", "configs/**/*.*", "*/**/*.py", "Makefile", "pyproject.toml")


def without_code(text: str) -> str:
    """The text of a page without its code blocks, whose brackets are no links."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; the second of a name ends in -1."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("\\", "")
        slug = re.sub(r"[^\w -]", "", text.strip().lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def links(page: Path) -> list[str]:
    """Where a page's relative links and images lead."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target), f"{link}: {target.name} has no such heading"


def test_the_links_are_seen() -> None:
    assert len(PAGES) > 15
    assert sum(len(links(page)) for page in PAGES) > 100


def test_pages_named_anywhere_exist() -> None:
    for pattern in SOURCES:
        for file in ROOT.glob(pattern):
            if file.is_file() and file.suffix not in (".gz", ".png") and ".venv" not in file.parts:
                for name in re.findall(r"docs/[\w/-]+\.(?:md|svg|png)", file.read_text(encoding="utf-8")):
                    assert (ROOT / name).exists(), f"{file.relative_to(ROOT)} names {name}"


def test_every_page_is_linked() -> None:
    """A page that nothing leads to is not found by anybody."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(page)
        if link.partition("#")[0]
    }
    assert [page for page in (ROOT / "docs").rglob("*.md") if page.resolve() not in linked] == []


def test_the_life_of_an_artifact_names_what_exists() -> None:
    """Each step names a file and what in it does the step."""
    steps = re.findall(
        r"`((?:tempering|flows)/[\w/]+\.py)` `(\w+)`", (ROOT / "docs/artifact-life.md").read_text()
    )
    assert len(steps) == 13
    for file, name in steps:
        assert re.search(rf"^(?:def|class) {name}\b", (ROOT / file).read_text(), re.MULTILINE), (file, name)
