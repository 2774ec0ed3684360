"""What a plan refuses: one message and exit code 2, before anything is computed or written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import main

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "configs/quickstart.yaml"

Plan = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Plan:
    """The message of a plan of the quickstart that is refused."""

    def plan(*words: str, config: Path = QUICK) -> str:
        code = main(["plan", str(config), *words, "--store", str(tmp_path / "store")])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ")
        assert not (tmp_path / "store").exists()
        return err

    return plan


INVISIBLE = ['"a\\0b"', '"a\\nb"', '"\\e[31m"', '"\\ud800"', '"\\u202ea"']
ODD = [*INVISIBLE, '""', '" "', '".."', '"--"', "x" * 300, "7", "true"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("place", ["name", "datasets", "samples", "models", "evaluate.benchmarks"])
def test_a_name_that_nobody_can_read_or_no_folder_can_have(refusal: Plan, place: str, name: str) -> None:
    setting = f"name={name}" if place == "name" else f"{place}={{{name}: {{kind: text}}}}"
    message = refusal(setting)
    assert f"{place}" in message
    assert "the name " in message
    assert len(message) < 500


@pytest.mark.parametrize("name", ["R&D", "50%", "a/b", "<a>", ".hidden", "日本語", "naïve 2", "a.b:c@d"])
def test_a_name_that_people_give(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path / "store"))
    data = f'datasets={{"{name}": {{kind: world, rows: corpus, size: 10}}}}'
    rest = ("tokenizer.datasets=[]", "samples={}", "evaluate=null", "report=null")
    off = [f"{kind}=null" for kind in ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")]
    words = [f'name="{name}"', data, f'tokenizer={{kind: train, datasets: ["{name}"]}}', *rest[1:], *off]
    assert main(["plan", str(QUICK), *words, *store]) == 0, capsys.readouterr().err
