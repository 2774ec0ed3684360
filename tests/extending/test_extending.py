"""README's table "Extending it" is true: what it says is enough, and the files it names are all."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.extending.additions import ADDITIONS, Addition
from tests.forked import TEMPER, Forks
from tests.tiny import PIPELINE

ROW = re.compile(r"^\| (.+?) \| (.+) \| (.+) \|$", re.MULTILINE)


def house(repository: Path, folder: Path) -> Path:
    """A copy of the code with everything added."""
    for name in ("flows", "tasks", "tempering"):
        shutil.copytree(repository / name, folder / name)  # with the compiled files, which save seconds
    for addition in ADDITIONS:
        if addition.file:
            (folder / addition.file).write_text(addition.text)
        for file, old, new in addition.edits:
            text = (folder / file).read_text()
            assert old in text, f"{file} has no {old!r}"
            (folder / file).write_text(text.replace(old, new, 1))
    return folder


def temper(code: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(code)}
    environment.pop("TEMPER_PRELOAD", None)  # of the toys in tests/flows: each stage would import torch
    command = [sys.executable, "-m", "flows.cli.main", *arguments]
    return subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)


def written(path: Path) -> Path:
    """A tiny pipeline that uses every addition."""
    haiku = path.parent / "haiku.jsonl"
    haiku.write_text("".join(json.dumps({"lines": [f"word {n}", "and", "so on"]}) + "\n" for n in range(20)))
    kept = ("name", "tokenizer", "samples", "datasets", "pretrain", "sft", "report")
    tree: dict[str, Any] = {key: copy.deepcopy(PIPELINE[key]) for key in kept}
    tree["datasets"]["haiku"] = {"kind": "haiku", "path": str(haiku), "eval_fraction": 0}
    tree["samples"]["pretrain"]["datasets"]["haiku"] = 1
    tree["noisy"] = {"kind": "noise", "scale": 0.1}
    best = {"model": "noisy", "estimator": "best", "reward": {"kind": "vowels"}, "max_steps": 2}
    tree["best"] = {"kind": "rloo", **PIPELINE["rloo"], **best}
    words = {"kind": "vocabulary", "dataset": "prompts"}
    tree["evaluate"] = {"reward_model": None, "benchmarks": {"words": words}}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: addition.row)
def test_the_table_names_the_files_that_are_touched(repository: Path, addition: Addition) -> None:
    table = (repository / "README.md").read_text().partition("## Extending it")[2].partition("\n## ")[0]
    rows = {first: f"{second} {third}" for first, second, third in ROW.findall(table)}
    named = [re.sub("<[a-z]+>", "*", name) for name in re.findall(r"`([\w./<>]+\.py)`", rows[addition.row])]
    assert len(addition.touched) <= 2
    for file in addition.touched:
        assert any(Path(file).match(name) for name in named), f"{file} is not in the row of {addition.row}"


@pytest.mark.slow
def test_what_was_added_runs(repository: Path, forks: Forks, tmp_path: Path) -> None:
    code = house(repository, tmp_path / "code")
    config = written(tmp_path / "pipeline.yaml")
    store = tmp_path / "store"
    # The estimate needs torch, which the fork has.
    words = ("plan", config, "--store", store, "--memory")
    memory = forks.run(TEMPER, *words, cwd=code, env={**os.environ, "PYTHONPATH": str(code)})
    assert memory.returncode == 0, memory.stderr
    assert re.search(r"noisy +\?.*cannot be estimated", memory.stdout), memory.stdout
    run = temper(code, "run", str(config), "--store", str(store), "--json")
    assert run.returncode == 0, run.stderr
    made = {row["stage"]: row["artifact"] for row in json.loads(run.stdout)}
    assert {"dataset[haiku]", "noisy", "best", "evaluate[noisy]", "evaluate[best]"} <= made.keys()
    (page,) = store.glob("report/*/report.html")
    html = page.read_text()
    assert "Different words" in html
    assert "noisy" in html
    again = temper(code, "run", str(config), "--store", str(store), "--json")
    assert {row["action"] for row in json.loads(again.stdout)} == {"cached"}
