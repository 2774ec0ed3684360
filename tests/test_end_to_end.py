"""The whole chain through the command line, on the tiny pipeline; and every command of the README."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.forked import TEMPER, Forks
from tests.tiny import PIPELINE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent / "temper"


class Shop:
    """A folder with a config and a store, and `temper` to run there."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.store, self.config = folder, folder / "artifacts", folder / "tiny.yaml"
        self.forks = forks
        self.config.write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
        (folder / "configs").mkdir()
        (folder / "configs" / "quickstart.yaml").write_text("extends: ../tiny.yaml\n")  # the default config

    def temper(self, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN), *map(str, arguments)],
            cwd=self.folder,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=400,
            env=self.environment(),
        )

    def forked(self, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """As `temper`, without the seconds that a process takes to import torch."""
        return self.forks.run(TEMPER, *arguments, cwd=self.folder, env=self.environment(), stdin=stdin)

    def environment(self) -> dict[str, str]:
        toys = ("TEMPER_PRELOAD",)  # of tests/flows: with it each stage would import torch by itself
        known = {name: value for name, value in os.environ.items() if name not in toys}
        return {**known, "TEMPER_STORE": str(self.store), "PYTHONPATH": str(ROOT)}

    def rows(self, *arguments: object) -> dict[str, Any]:
        done = self.temper(*arguments, "--json")
        assert done.returncode == 0, done.stderr[-3000:]
        return {row["stage"]: row for row in json.loads(done.stdout)}

    def actions(self, *arguments: object) -> set[str]:
        return {name for name, row in self.rows(*arguments).items() if row["action"] != "cached"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Shop:
    """The tiny pipeline, run once."""
    shop = Shop(tmp_path_factory.mktemp("shop"), forks)
    rows = shop.rows("run", shop.config)
    assert {row["action"] for row in rows.values()} == {"run"}
    return shop


def test_the_second_run_is_cached_and_fast(shop: Shop) -> None:
    started = time.monotonic()
    assert shop.actions("run", shop.config) == set()
    assert time.monotonic() - started < 6
    assert "Cached" in shop.temper("run", shop.config).stderr


def test_plan_names_the_field_and_run_does_what_plan_said(shop: Shop) -> None:
    change = "ppo.learning_rate=0.0005"
    planned = shop.rows("plan", shop.config, change)
    assert planned["ppo"]["why"] == [
        {"kind": "config", "field": "learning_rate", "old": 0.001, "new": 0.0005}
    ]
    expected = {"ppo", "evaluate[ppo]", "report"}
    assert {name for name, row in planned.items() if row["action"] != "cached"} == expected
    assert shop.actions("run", shop.config, change) == expected
    assert shop.actions("run", shop.config) == set(), "the first artifacts are still there"


def test_report_has_every_model_and_the_headline_metrics(shop: Shop) -> None:
    found = json.loads(shop.temper("report", "--json").stdout)
    assert {row["model"] for row in found} == {"pretrain", "sft", "reward_model", "dpo", "ppo", "rloo"}
    assert {row["model"] for row in found if row["metric"] == "gold_score"} == {
        "pretrain",
        "sft",
        "dpo",
        "ppo",
        "rloo",
    }
    ordered = [
        row["model"] for row in found if (row["benchmark"], row["metric"]) == ("preferences", "accuracy")
    ]
    assert set(ordered) == {"reward_model"}
    for row in found:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] > 0


def test_training_artifacts_have_checkpoints_and_parquet(shop: Shop) -> None:
    for name in ("pretrain", "ppo", "rloo"):
        manifest = json.loads(shop.temper("artifacts", "show", f"{name}@latest", "--json").stdout)
        checkpoints = {path.split("/")[1] for path in manifest["files"] if path.startswith("checkpoints/")}
        assert len(checkpoints) >= 3, (name, checkpoints)
    for manifest in json.loads(shop.temper("artifacts", "list", "--json").stdout):
        tables = [
            path for path in manifest["files"] if path.startswith("metadata/") and path.endswith(".parquet")
        ]
        assert tables, manifest["id"]


def test_models_load_with_plain_transformers(shop: Shop, tmp_path: Path) -> None:
    done = shop.forked("export", "rloo@latest", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer as T; p = sys.argv[1]\n"
        "t, m = T.from_pretrained(p), AutoModelForCausalLM.from_pretrained(p)\n"
        "ids = t.apply_chat_template([{'role': 'user', 'content': 'Hi'}], add_generation_prompt=True,"
        " return_tensors='pt', return_dict=True)\n"
        "print(t.decode(m.generate(**ids, max_new_tokens=4)[0]))"
    )
    plain = shop.forks.run(code, tmp_path / "out", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr[-2000:]
    assert "<|user|>Hi<|assistant|>" in plain.stdout
    assert (
        json.loads((tmp_path / "out/tokenizer_config.json").read_text())["tokenizer_class"]
        == "PreTrainedTokenizerFast"
    )
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "CONFIG", "ppo.learning_rat=1"], "did you mean 'learning_rate'"),
        (["run", "CONFIG", "ppo.batch_size=many"], "ppo.batch_size"),
        (["run", "nothing.yaml"], "nothing.yaml"),
        (["run", "CONFIG", "datasets.corpus={kind: text, path: nothing.txt}"], "nothing.txt"),
        (["run", "CONFIG", "sft.model=nonsense"], "nonsense"),
        (["run", "CONFIG", "sft.sample=nonsense"], "nonsense"),
        (["run", "CONFIG", "--only", "nonsense"], "nonsense"),
        (["artifacts", "show", "sft/nothing"], "sft/nothing"),
        (["generate", "reward_model@latest", "--prompt", "Hi"], "reward model"),
        (["generate", "report@latest", "--prompt", "Hi"], "report"),
        (["generate", "sft@latest", "--file", "nothing.txt"], "nothing.txt"),
        (["run", "CONFIG", "--store", "tiny.yaml/below"], "tiny.yaml"),
    ],
)
def test_mistakes_are_said_in_one_message(shop: Shop, arguments: list[str], said: str) -> None:
    before = sorted(
        path.relative_to(shop.store) for path in shop.store.rglob("*") if ".prefect" not in path.parts
    )
    done = shop.forked(*[shop.config if part == "CONFIG" else part for part in arguments])
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    after = sorted(
        path.relative_to(shop.store) for path in shop.store.rglob("*") if ".prefect" not in path.parts
    )
    assert before == after, "something half-written stays behind"


def test_a_malformed_line_stops_the_run_with_file_and_line(shop: Shop) -> None:
    rows = [json.dumps({"text": f"Once upon a time {index}."}) for index in range(20)]
    (shop.folder / "bad.jsonl").write_text("\n".join([*rows[:7], '{"text": "torn', *rows[7:]]) + "\n")
    done = shop.temper(
        "run", shop.config, "datasets.corpus={kind: text, path: bad.jsonl}", "--only", "dataset[corpus]"
    )
    assert done.returncode == 2, done.stderr
    assert re.search(r"bad\.jsonl\D+8\b", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


SERVICE = ("up", "down", "status", "deploy", "deployments")


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:console|bash|sh)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.split("\n")]
    commands = [
        line.split(" #")[0].strip() for line in lines if line.startswith((".venv/bin/temper ", "temper "))
    ]
    # tests/services/test_readme.py runs those of the service.
    return [command for command in commands if command.split()[1] not in SERVICE]


def test_the_readme_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make run" in text
    assert "make test" in text
    assert len(readme_commands()) >= 8


@pytest.mark.parametrize("command", readme_commands())
def test_readme_command(shop: Shop, command: str, tmp_path: Path) -> None:
    """Each `temper` line of the README works, here with the tiny pipeline in the place of the big ones."""
    words = shlex.split(command)[1:]
    words = [str(shop.config) if word.startswith("configs/") else word for word in words]
    words = [str(tmp_path / "out") if word == "my-model" else word for word in words]
    if any(word.startswith("datasets.") for word in words):
        words = [word for word in words if not word.startswith("datasets.")]  # real files of the recipe
    (shop.folder / "prompts.txt").write_text("Tell a story. Lily, ball, dog, park:\n")
    done = shop.forked(*words, stdin="Tell a story. Lily, ball, dog, park:\n")
    assert done.returncode == 0, done.stderr[-3000:]
