"""Prefect's pages in a headless browser: open one, wait for what must be seen, keep a picture to look at.

The pictures go to `.pytest_output/` (git-ignored). Debian's Chromium is used: no browser is downloaded.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
OUTPUT = Path(__file__).parents[2] / ".pytest_output" / "pages"
_LIMIT = 60_000  # milliseconds that a page may take to show something


@dataclass
class Browser:
    """A page of a browser, at one Prefect server."""

    page: Any
    url: str
    """The server's, without `/api`."""

    def open(self, path: str) -> None:
        """Open a page of the default UI, such as `runs/flow-run/ID`; one with a slash in front as it is."""
        self.page.goto(self.url + (path if path.startswith("/") else f"/v2/{path}"), wait_until="load")

    def sees(self, *texts: str) -> None:
        """Wait until every text can be seen.

        Raises:
            playwright.sync_api.TimeoutError: with the text that is not there.
        """
        for text in texts:
            shown = self.page.get_by_text(re.compile(re.escape(text))).locator("visible=true")
            shown.first.wait_for(timeout=_LIMIT)

    def click(self, name: str, role: str = "button") -> None:
        """Press what a person would: the first visible button (or tab, link, menuitem) of this name."""
        self.page.get_by_role(role, name=name).locator("visible=true").first.click(timeout=_LIMIT)

    def text(self) -> str:
        """All text of the page."""
        return str(self.page.inner_text("body"))

    def picture(self, name: str, *, whole: bool = True) -> Path:
        """Keep what is seen as `.pytest_output/pages/<name>.png`."""
        OUTPUT.mkdir(parents=True, exist_ok=True)
        path = OUTPUT / f"{name}.png"
        self.page.wait_for_timeout(400)  # animations
        self.page.screenshot(path=path, full_page=whole)
        return path


@contextlib.contextmanager
def browser(url: str, *, width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """A browser at the Prefect server whose API (or pages) `url` names."""
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            page = chromium.new_page(viewport={"width": width, "height": height})
            yield Browser(page, url.rstrip("/").removesuffix("/api"))
        finally:
            chromium.close()
