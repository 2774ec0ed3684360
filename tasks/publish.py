"""publish[STAGE]: export a model and push it to the Hugging Face Hub.

A stage of its own: a push that fails loses no training and is retried alone.
"""

import shutil

from pydantic import Field, field_validator

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import EvaluationArtifact, ModelArtifact, PublicationArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.config import Config
from tempering.hub.models import owner_and_name


class PublishConfig(Config):
    """Where a model goes."""

    repo: str = Field(description="OWNER/NAME on the Hub; created if it does not exist")
    private: bool = Field(True, description="whether a repository that is created now is private")

    @field_validator("repo")
    @classmethod
    def _owner_and_name(cls, repo: str) -> str:
        return owner_and_name(repo)


@stage("publish", version=1, makes=PublicationArtifact)
def publish(
    out: Draft,
    config: PublishConfig,
    *,
    model: ModelArtifact,
    evaluation: EvaluationArtifact | None = None,
) -> Summary:
    """Push the exported folder in one commit and store the receipt.

    Args:
        evaluation: must be done first, because the card looks up its numbers in the store.
    """
    from tempering.exchange.export import export_model
    from tempering.exchange.push import check_push, push_folder

    # The export is temporary: the store has the weights already.
    check_push(config.repo)
    folder = out.path / "export"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        export_model(model, folder)
        pushed = push_folder(folder, config.repo, private=config.private, message=model.id)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # The receipt: which commit of which repository.
    out.write_table(
        "published",
        [{"repo": pushed.repo, "commit": pushed.commit, "url": pushed.url, "files": pushed.files}],
    )
    out.log(f"pushed {model.id} to {pushed.url}, commit {pushed.commit[:12]}")
    return {"repo": pushed.repo, "commit": pushed.commit[:12], "files": pushed.files}
