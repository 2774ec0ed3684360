"""A checkpoint that cannot be loaded is set aside, with the reason; the one before it is resumed from."""

import logging
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import TrainingArguments

from tempering.artifacts.tables import read_rows
from tempering.errors import StageFailed
from tempering.onpolicy.config import PPOConfig
from tempering.training.causal import PretrainTrainer, _collate_blocks
from tempering.training.checkpoints import DIGESTS, newest_first
from tempering.training.config import PretrainConfig
from tempering.training.resume import resume_point
from tempering.training.trainer import training_arguments
from tests.forked import Fork, Forks
from tests.onpolicy import small
from tests.tiny import fresh_draft
from tests.training import damage

PPO = PPOConfig(
    batch_size=4,
    rollout_batch_size=4,
    max_new_tokens=6,
    num_epochs=2,
    checkpoint_interval=25,
    learning_rate=1e-3,
    score_normalization="whiten",
    kl_control="adaptive",
)
PRETRAIN = PretrainConfig(
    batch_size=2, block_size=16, max_steps=6, checkpoint_interval=50, learning_rate=1e-3
)


def trainer(kind: str, folder: Path) -> Any:
    """Of the pretraining or the PPO stage, on a tiny model."""
    if kind == "ppo":
        return small.trainer(folder, PPO)
    out = fresh_draft(folder)
    rows = [[(7 * row + place) % small.VOCABULARY for place in range(16)] for row in range(20)]
    return PretrainTrainer(
        model=small.policy(),
        config=PRETRAIN,
        out=out,
        processing_class=small.Words(),
        data_collator=_collate_blocks,
        train_dataset=datasets.Dataset.from_dict({"input_ids": rows}),
        args=TrainingArguments(**training_arguments(PRETRAIN, out)),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The draft of a stage that was killed after its last checkpoint, and what it came to; once for each."""
    folder = tmp_path_factory.mktemp("finished")
    outcomes: dict[str, Any] = {}

    def draft_of(kind: str) -> tuple[Path, Any]:
        if kind not in outcomes:
            whole = trainer(kind, folder / kind)
            whole.train_or_resume()
            outcomes[kind] = outcome(whole)
        return folder / kind, outcomes[kind]

    return draft_of


@pytest.fixture
def copy(finished: Any, tmp_path: Path) -> Any:
    """A copy of that draft, and its newest checkpoint."""

    def copied(kind: str) -> tuple[Path, Path]:
        shutil.copytree(finished(kind)[0], tmp_path / kind)
        return tmp_path / kind, newest_first(tmp_path / kind / "checkpoints")[0]

    return copied


def unsealed(draft: Path) -> None:
    """As an older version wrote it."""
    for digests in draft.glob(f"checkpoints/*/{DIGESTS}"):
        digests.unlink()


def outcome(ended: Any) -> Any:
    """Tokens, log rows (without what a clock measured) and weights, as bytes."""
    tables = [read_rows(log.path.with_suffix(".parquet")) for log in ended.row_logs()]
    rows = [
        {name: value for name, value in row.items() if "second" not in name and "runtime" not in name}
        for table in tables
        for row in table
    ]
    weights = {name: tensor.numpy().tobytes() for name, tensor in ended.model.state_dict().items()}
    return ended.tokens, rows, weights


SEALED = [("pretrain", form, True) for form in damage.SEALED]
OLDER = [("pretrain", form, False) for form in damage.FORMS]
OWN = [("ppo", form, False) for form in damage.ON_POLICY]


@pytest.mark.parametrize(("kind", "form", "sealed"), [*SEALED, *OLDER, *OWN])
def test_the_checkpoint_before_it_is_used(
    copy: Any, caplog: pytest.LogCaptureFixture, kind: str, form: str, sealed: bool
) -> None:
    draft, checkpoint = copy(kind)
    before = newest_first(draft / "checkpoints")[1]
    if not sealed:
        unsealed(draft)
    (damage.FORMS | damage.SEALED | damage.ON_POLICY)[form](checkpoint)
    assert resume_point(trainer(kind, draft)) == before
    # Said with the reason, kept for inspection, and out of the way of the next run.
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    [place] = (draft.parent / ".damaged").iterdir()
    assert line.startswith(f"{checkpoint.name} is damaged: ")
    assert line.endswith(f"It is set aside: {place}")
    assert not damage.bomb_place(checkpoint).exists()


def newest(count: int) -> Any:
    """Cuts the optimizer state of that many of the newest checkpoints in half."""

    def change(draft: Path) -> None:
        for checkpoint in newest_first(draft / "checkpoints")[:count]:
            damage.cut(damage.OPTIMIZER)(checkpoint)

    return change


@pytest.mark.parametrize("kind", ["pretrain", "ppo"])
@pytest.mark.parametrize(("damaged", "anew"), [(0, False), (1, False), (2, True)])
def test_the_run_that_falls_back_equals_the_whole_one(
    copy: Any, finished: Any, caplog: pytest.LogCaptureFixture, kind: str, damaged: int, anew: bool
) -> None:
    """Mutation: what has been loaded of a damaged checkpoint stays in the model."""
    draft, _ = copy(kind)
    newest(damaged)(draft)
    again = trainer(kind, draft)
    again.train_or_resume()
    assert outcome(again) == finished(kind)[1]
    assert (again.out.resumed_from_tokens is None) == anew
    assert ("it begins anew" in caplog.text) == anew
    assert len(list(draft.parent.glob(".damaged/*"))) == damaged


def test_an_older_checkpoint_without_digests_is_resumed_from(copy: Any, finished: Any) -> None:
    """Mutation: what has no digests is damaged."""
    for kind in ("pretrain", "ppo"):
        draft, checkpoint = copy(kind)
        unsealed(draft)
        shutil.rmtree(checkpoint)  # so that some training is left
        again = trainer(kind, draft)
        again.train_or_resume()
        assert outcome(again) == finished(kind)[1]
        assert again.out.resumed_from_tokens
        assert not (draft.parent / ".damaged").exists()


def test_a_checkpoint_that_has_lost_its_optimizer_is_said(
    copy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Without digests it looks like an older one, which keeps its weights only."""
    draft, checkpoint = copy("pretrain")
    before = newest_first(draft / "checkpoints")[1]
    unsealed(draft)
    damage.gone(damage.OPTIMIZER)(checkpoint)
    assert resume_point(trainer("pretrain", draft)) == before
    assert f"{checkpoint.name}: optimizer.pt is missing" in caplog.text
    assert checkpoint.exists()


def test_what_fails_at_the_last_moment_is_set_aside_too(copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever no check has thought of: this run ends with a message, and the next one goes on."""
    draft, checkpoint = copy("ppo")
    newest(1)(draft)
    (checkpoint / "finished").unlink()
    with monkeypatch.context() as blind:
        for check in ("damage", "fault"):
            blind.setattr(f"tempering.training.resume.{check}", lambda *_: None)
        with pytest.raises(StageFailed, match=f"{checkpoint.name} cannot be loaded: .*set aside"):
            trainer("ppo", draft).train_or_resume()
    assert not checkpoint.exists()
    again = trainer("ppo", draft)
    again.train_or_resume()
    assert again.out.resumed_from_tokens


def test_a_damaged_row_log_is_said(copy: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Mutation: the table has a gap, and nobody says so."""
    for kind in ("pretrain", "ppo"):
        draft, checkpoint = copy(kind)
        shutil.rmtree(checkpoint)
        for table in draft.glob("metadata/*.parquet"):
            damage.cut(table.name)(table.parent)
        trainer(kind, draft).train_or_resume()
        assert "training_stats.jsonl is damaged: it has rows of 0 steps instead of" in caplog.text
        caplog.clear()


def resume_as(forks: Forks, rank: int, port: int, draft: Path) -> Fork:
    """One of two processes that go on with a PPO stage."""
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    code = (
        "from tests.training.test_damaged_checkpoints import Path, trainer; "
        f"again = trainer('ppo', Path({str(draft)!r})); again.train_or_resume(); "
        "print(again.out.resumed_from_tokens, again.tokens)"
    )
    return forks.start(code, env={**os.environ, **ranks, **place})


@pytest.mark.slow
def test_two_processes_fall_back_to_the_same_checkpoint(copy: Any, finished: Any, forks: Forks) -> None:
    """Mutation: each looks for itself, and one of them finds the damaged one before it is set aside."""
    draft, _ = copy("ppo")
    newest(1)(draft)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [resume_as(forks, rank, port, draft) for rank in range(2)]
    ends = [process.wait() for process in running]
    assert [end.returncode for end in ends] == [0, 0], ends
    answers = [end.stdout.split()[-2:] for end in ends]
    assert answers[0] == answers[1]
    assert int(answers[0][0]) < int(answers[0][1]) == finished("ppo")[1][0]
    assert len(list(draft.parent.glob(".damaged/*"))) == 1
