"""Settings of a server that answers questions; none but its model and temperature changes an answer."""

import os

from pydantic import Field, model_validator

from tempering.config import Config, runtime_field
from tempering.credentials import is_variable_name, name_key
from tempering.errors import ConfigError


class Budget(Config):
    """What one stage may spend on a server, resumed runs included."""

    max_requests: int | None = runtime_field(
        None, ge=1, description="requests, those that are repeated included; null: no limit"
    )
    max_tokens: int | None = runtime_field(
        None, ge=1, description="tokens of questions and answers; null: no limit"
    )
    max_cost: float | None = runtime_field(
        None, gt=0, description="money, in the currency of the prices; null: no limit"
    )
    input_price: float = runtime_field(0.0, ge=0, description="money for a million tokens of questions")
    output_price: float = runtime_field(0.0, ge=0, description="money for a million tokens of answers")

    @model_validator(mode="after")
    def _has_prices(self) -> "Budget":
        if self.max_cost is not None and not (self.input_price or self.output_price):
            raise ValueError("max_cost needs input_price and output_price, per million tokens")
        return self

    @property
    def limited(self) -> bool:
        """Whether anything is limited at all."""
        return not (self.max_requests is None and self.max_tokens is None and self.max_cost is None)

    def cost(self, questions: float, answers: float) -> float:
        """Money for so many tokens."""
        return (questions * self.input_price + answers * self.output_price) / 1e6


class EndpointConfig(Config):
    """A server that speaks OpenAI's chat completions protocol."""

    base_url: str = runtime_field(
        "http://localhost:8000/v1", description="address; /chat/completions is added"
    )
    model: str = Field(description="the server's name of the model")
    api_key_env: str | None = runtime_field(
        None, description="environment variable with the key; the key itself is stored nowhere"
    )
    temperature: float = Field(0.0, ge=0, description="sampling temperature of what answers")
    timeout: float = runtime_field(60.0, gt=0, le=86400, description="seconds to wait for an answer")
    retries: int = runtime_field(
        4, ge=0, le=1000, description="further attempts after 429, 5xx and lost connections"
    )
    deadline: float | None = runtime_field(
        None, gt=0, le=864000, description="seconds for a question with all its attempts; null: no limit"
    )
    max_concurrency: int = runtime_field(8, ge=1, le=1000, description="questions in flight at the same time")
    budget: Budget = runtime_field(Budget(), description="what may be spent")
    cache: str | None = runtime_field(
        "store",
        description="SQLite file of answers that runs share; store: one in the artifact store; null: none",
    )

    @model_validator(mode="after")  # not a field validator: its error would print the address, key and all
    def _is_http(self) -> "EndpointConfig":
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(self.base_url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError("base_url: expected http://HOST[:PORT]/v1 or https://...")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("base_url must not contain a key; fix: name its variable in api_key_env")
        if self.api_key_env is not None and not is_variable_name(self.api_key_env):
            raise ValueError(
                "api_key_env is not the name of an environment variable (not shown: it may be the key); "
                "fix: export TEACHER_KEY=..., and write api_key_env: TEACHER_KEY"
            )
        return self

    def key(self) -> str:
        """The key; "" without one. No message may contain it, not even a library's about a bad header.

        Raises:
            ConfigError: the variable is not set, or what it holds is not a key.
        """
        variable = self.api_key_env
        if variable is None:
            return ""
        name_key(variable)
        key = os.environ.get(variable, "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                f"the environment variable {variable} {'holds no key' if key else 'is not set'}",
                expected="the server's key, one word of printable ASCII characters",
                fix=f"export {variable}=..., or remove api_key_env",
            )
        return key
