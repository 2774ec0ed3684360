"""What a run leaves on a real Prefect server: artifacts by run and task, log lines, events, and no keys."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from flows.pages.messages import LogLine, RunIds, StageEvent
from tempering.artifacts.runs import Runs
from tests.flows.conftest import wait_for


def asked(api: str, path: str, **body: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{api}/{path}/filter", json={"limit": 200, **body})
    answer.raise_for_status()
    rows: list[dict[str, Any]] = answer.json()
    return rows


def of_run(api: str, store: Path) -> tuple[str, list[dict[str, Any]]]:
    """The newest run's flow run, and its artifacts."""
    record = Runs(store / "runs").last_run("paged")
    assert record is not None
    artifacts = asked(api, "artifacts", flow_runs={"id": {"any_": [record.flow_run]}})
    return str(record.flow_run), [artifact for artifact in artifacts if artifact["key"]]


def test_a_run_is_shown_stage_by_stage_and_the_next_one_under_the_same_keys(
    api: str, temper: Callable[..., Any], store: Path, tmp_path: Path
):
    config = tmp_path / "paged.yaml"
    config.write_text(
        "name: paged\nruntime: {report_url: 'http://127.0.0.1:9'}\nright: {steps: 5, crash: raise}\n"
    )
    assert temper("run", config, "--store", store, "--json").code == 1
    run, artifacts = of_run(api, store)
    keys = {artifact["key"]: artifact for artifact in artifacts}
    assert len(keys) == len(artifacts), "updated in place, not piled up"
    wanted = {f"paged-{name}-progress" for name in ("base", "left", "right")}
    wanted |= {f"paged-{name}-metrics" for name in ("data", "base", "left", "evaluate-left")}
    assert "paged-report-metrics" not in keys
    assert wanted | {"paged-plan", "paged-run", "paged-verdict", "paged-report"} <= set(keys)
    # Each belongs to its task, and says how far it came.
    tasks = {task["id"]: task for task in asked(api, "task_runs", flow_runs={"id": {"any_": [run]}})}
    assert tasks[keys["paged-left-progress"]["task_run_id"]]["name"].startswith("left")
    assert (keys["paged-left-progress"]["data"], keys["paged-right-progress"]["data"]) == (100, 20)
    assert "not a number" in keys["paged-right-progress"]["description"]
    assert "has not run yet" in keys["paged-plan"]["data"]
    assert "(http://127.0.0.1:9/report/paged__" in keys["paged-report"]["data"]
    # Its log, live.
    lines = [line["message"] for line in asked(api, "logs", logs={"flow_run_id": {"any_": [run]}})]
    assert any(line.startswith("base 33% · 100 of 300 tokens · loss 1") for line in lines)
    assert any("left: done in" in line for line in lines)
    assert any("Traceback" in line for line in lines)
    check_events(api, run)
    # A second run makes new versions of what it makes, under the same keys.
    assert temper("run", config, "--store", store, "--json").code == 1
    again, later = of_run(api, store)
    assert again != run
    assert {artifact["key"] for artifact in later} <= set(keys)
    assert not {"paged-left-progress", "paged-left-metrics"} & {artifact["key"] for artifact in later}
    assert max(Counter(artifact["key"] for artifact in later).values()) == 1


def check_events(api: str, run: str) -> None:
    related = {"id": [f"prefect.flow-run.{run}"]}
    wanted = {"filter": {"event": {"prefix": ["tempering."]}, "related": related}, "limit": 50}

    def recorded() -> dict[tuple[str, str], dict[str, Any]]:
        answer = httpx.post(f"{api}/events/filter", json=wanted).json()["events"]
        return {(event["event"], event["payload"]["stage"]): event for event in answer}

    # The server writes events down some moments after it has taken them.
    wait_for(lambda: ("tempering.stage.failed", "right") in recorded(), 30)
    events = recorded()
    failed = events["tempering.stage.failed", "right"]
    assert failed["resource"]["prefect.resource.id"] == "tempering.stage.paged.right"
    assert failed["payload"]["error"] == "RuntimeError: the loss is not a number"
    made = events["tempering.artifact.created", "left"]["payload"]
    assert (made["action"], made["metrics"], len(made["fingerprint"])) == ("run", {"loss": 0.25}, 64)
    assert ("tempering.artifact.created", "right") not in events


def test_no_key_reaches_prefect(api: str):
    from flows.pages.client import Client

    key = "sk-proj-Zb81Kd92jfA73hqLmm"
    flow_run = httpx.post(f"{api}/flows/", json={"name": "masked"}).json()["id"]
    created = httpx.post(f"{api}/flow_runs/", json={"flow_id": flow_run, "state": {"type": "PENDING"}})
    ids = RunIds(UUID(created.json()["id"]))
    client = Client()
    for _ in range(2):  # made, and updated
        client.artifact("masked-table", "table", [{"why": f"api_key {key}", key: 1}], f"with {key}", ids)
        client.artifact("masked-text", "markdown", f"with {key}", "", ids)
    client.log([LogLine(ids, 20, f"with {key}")])
    client.event(StageEvent("stage.failed", f"stage.{key}", key, "toy", {"error": key, "more": [key]}, ids))
    seen = httpx.post(f"{api}/artifacts/filter", json={"artifacts": {"key": {"like_": "masked-"}}}).text
    seen += httpx.post(
        f"{api}/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(ids.flow_run)]}}}
    ).text
    event = {"event": {"prefix": ["tempering."]}, "related": {"id": [f"prefect.flow-run.{ids.flow_run}"]}}
    seen += httpx.post(f"{api}/events/filter", json={"filter": event}).text
    assert seen.count("with ") >= 3
    assert "Zb81Kd92" not in seen
