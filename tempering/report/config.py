"""Settings of the report."""

from pydantic import Field

from tempering.config import Config


class ReportConfig(Config):
    """The page's title, how much it shows, and the price of the machine."""

    title: str = Field("", description="heading of the page; by default the pipeline's name")
    price_per_hour: float | None = Field(
        None, ge=0, description="of the machine, in any currency: shows what each stage cost; null: no costs"
    )
    prompts: int = Field(
        8, ge=0, le=10_000, description="prompts with all models' answers side by side; 0: none"
    )
