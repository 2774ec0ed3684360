"""Prefect's pages in a browser while a run goes on and after it: what a person sees, and pictures of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import toy_runs
from tests.services.browser import Browser, browser
from tests.services.prefect_server import prefect_server

pytestmark = pytest.mark.services
CONFIG = """\
name: toy
runtime: {report_url: "http://127.0.0.1:9"}
left: {steps: 4, wait_for: %s}
right: {steps: 5, crash: raise}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def seen(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str, Path]]:
    """A browser, the server's API, and the folder of a pipeline."""
    with browser(server) as page:
        yield page, server, tmp_path_factory.mktemp("run")


def keyed(url: str, flow_run: str) -> dict[str, dict[str, Any]]:
    """A run's artifacts by key."""
    rows = toy_runs.asked(url, "artifacts", flow_runs={"id": {"any_": [flow_run]}})
    return {artifact["key"]: artifact for artifact in rows if artifact["key"]}


def test_a_run_can_be_watched_while_it_goes_on(seen: tuple[Browser, str, Path]) -> None:
    page, url, folder = seen
    go = folder / "go"
    (folder / "toy.yaml").write_text(CONFIG % (folder / "go"))
    process = toy_runs.begin(url, folder, "toy.yaml")
    try:
        watch(page, url, folder)
    finally:
        go.touch()
        process.communicate(timeout=toy_runs.LIMIT)
    assert process.returncode == 1


def watch(page: Browser, url: str, folder: Path) -> None:
    """Look at a run whose stage `left` is at work."""
    toy_runs.until(lambda: (folder / "go.pid").exists())
    run = toy_runs.newest_run(url)["id"]
    toy_runs.until(lambda: "toy-left-progress" in keyed(url, run))
    # Its graph, its log line by line, and how far it is.
    page.open(f"runs/flow-run/{run}")
    page.sees("Running", "left 25% · 100 of 400 tokens · loss 1")
    page.picture("running")
    page.open(f"runs/task-run/{toy_runs.task_of(url, run, 'left')['id']}")
    page.sees("left: running", "left 25% · 100 of 400 tokens")
    assert "Waiting for logs" not in page.text()
    page.picture("running-stage")
    page.open(f"artifacts/artifact/{keyed(url, run)['toy-left-progress']['id']}")
    page.sees("Progress: 25%", "100 of 400 tokens")
    page.picture("running-progress")


def test_a_second_run_shows_cached_completed_and_failed(seen: tuple[Browser, str, Path]) -> None:
    page, url, folder = seen
    assert toy_runs.run(url, folder, "toy.yaml", "--force", "evaluate[left]") == 1
    run = toy_runs.newest_run(url)["id"]
    page.open(f"runs/flow-run/{run}?tab=TaskRuns")
    page.sees("Failed", "Cached", "Completed", "NotRun", "base · toy")
    page.picture("ended-tasks")
    page.open(f"runs/flow-run/{run}?tab=Logs")
    page.sees("base: Cached · loss 0.3333", "right: failed in", "Traceback")
    page.picture("ended-log")
    page.open(f"runs/flow-run/{run}?tab=Artifacts")
    page.sees("toy-plan", "toy-run", "toy-verdict", "toy-report")
    page.picture("ended-artifacts")
    page.open(f"runs/task-run/{toy_runs.task_of(url, run, 'evaluate[left]')['id']}?tab=Artifacts")
    page.sees("toy-evaluate-left-samples", "toy-evaluate-left-metrics")
    page.picture("ended-task-artifacts")


def test_artifacts_are_tables_charts_text_and_links(seen: tuple[Browser, str, Path]) -> None:
    page, url, _ = seen
    artifacts = {row["key"]: row["latest_id"] for row in toy_runs.asked(url, "artifacts/latest")}

    def look(key: str, *texts: str) -> None:
        page.open(f"artifacts/artifact/{artifacts[key]}")
        page.sees(*texts)
        page.picture(key)

    look("toy-plan", "input evaluations.right", "forced by --force")
    look("toy-run", "RuntimeError: the loss is not a number", "NotRun")
    look("toy-left-progress", "Progress: 100%", "left done in")
    look("toy-evaluate-left-metrics", "gold_score", "11 to 13")
    look("toy-verdict", "right failed: RuntimeError: the loss is not a number")
    # A model's answer is text, whatever it holds.
    look(
        "toy-evaluate-left-samples",
        "<script>document.title='taken'</script> | **stars**",
        "say | <b>hello</b>",
    )
    assert page.page.title() != "taken"
    assert page.page.locator("main img[src=x]").count() == 0
    look("toy-left-curves", "Loss", "tokens")
    page.page.locator("svg[aria-roledescription=xychart]").first.wait_for()
    look("toy-report", "Open the report")
    link = page.page.get_by_role("link", name="Open the report").get_attribute("href")
    assert str(link).startswith("http://127.0.0.1:9/report/toy__")
    page.open("artifacts")
    page.sees("toy-plan", "toy-left-curves")
    page.picture("artifacts")
