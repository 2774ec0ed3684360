"""The shipped pipelines keep the fingerprints they had, so that nobody's store is built again.

tests/fixtures/fingerprints.json was recorded before the library was divided into rooms (commit ca32fec).
A line of it changes only together with the `version` of a stage or of a part of its config, or with a setting
of a shipped config, and the changelog says so. `python -m tests.flows.test_fingerprints` records it anew.
"""

import json
import tempfile
from pathlib import Path

import pytest

from flows.options import Options
from flows.pipeline import plan_pipeline

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "tests" / "fixtures" / "fingerprints.json"
RECORDED: dict[str, dict[str, str]] = json.loads(FILE.read_text("utf-8"))


def fingerprints(name: str, store: Path) -> dict[str, str]:
    planned = plan_pipeline(Options(str(REPOSITORY / "configs" / f"{name}.yaml"), store=str(store)))
    names = [node.name for node in planned.nodes]
    return dict(zip(names, (row.fingerprint.hex for row in planned.rows), strict=True))


@pytest.mark.parametrize("name", list(RECORDED))
def test_fingerprints_stay(tmp_path: Path, name: str) -> None:
    assert fingerprints(name, tmp_path) == RECORDED[name]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        recorded = {name: fingerprints(name, Path(folder)) for name in RECORDED}
    FILE.write_text(json.dumps(recorded, indent=1) + "\n", "utf-8")
