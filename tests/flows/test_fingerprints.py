"""The shipped pipelines keep the fingerprints they had, so that nobody's store is built again.

tests/fixtures/fingerprints.json was recorded before the library was divided into rooms (commit ca32fec).
A line of it changes only together with a stage's `version` or a setting of a shipped config, and the
changelog says so.
"""

import json
from pathlib import Path

import pytest

from flows.pipeline import Options, plan_pipeline

RECORDED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "fingerprints.json").read_text("utf-8")
)


@pytest.mark.parametrize("name", list(RECORDED))
def test_fingerprints_stay(repository: Path, tmp_path: Path, name: str) -> None:
    config = repository / "configs" / f"{name}.yaml"
    planned = plan_pipeline(Options(str(config), store=str(tmp_path)))
    names = [node.name for node in planned.nodes]
    assert dict(zip(names, (row.fingerprint.hex for row in planned.rows), strict=True)) == RECORDED[name]
