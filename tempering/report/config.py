"""Settings of the report."""

from pydantic import Field

from tempering.config import Config


class ReportConfig(Config):
    """The page's title and how much it shows."""

    title: str = Field("", description="heading of the page; by default the pipeline's name")
    prompts: int = Field(
        8, ge=0, le=10_000, description="prompts with all models' answers side by side; 0: none"
    )
