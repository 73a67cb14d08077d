"""One endpoint of the teacher: its URL, model, key, headers, limits and price. For the settings and all that send.

What is secret is the name of an environment variable, or a command that prints the key; values are read in the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, field_validator, model_validator

from distill.answers import JsonObject
from distill.config import Settings, secret
from teacher.keys import key_of_command
from teacher.prices import Price

OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")
SECRET_NAMES = ("authorization", "proxy-authorization", "api-key", "x-api-key", "cookie", "key", "apikey", "api_key")


class FromEnv(Settings):
    """A value that an environment variable holds. It is read in the driver, travels unseen, and is in no file."""

    env: str = Field(description="the variable's name")
    _value: SecretStr | None = PrivateAttr(None)

    def read(self, key: str) -> FromEnv:
        """With the variable's value. Raises ConfigError naming `key` where it is not set."""
        copy = self.model_copy()
        copy._value = SecretStr(secret(self.env, key))
        return copy

    @property
    def value(self) -> str:
        """The value, once it was read."""
        assert self._value is not None
        return self._value.get_secret_value()


def _text(value: object) -> object:
    """YAML takes a version such as 2024-10-21 for a date, and 1 for a number."""
    return str(value) if isinstance(value, int | float | date) and not isinstance(value, bool) else value


TextOrEnv = Annotated[str | FromEnv, BeforeValidator(_text)]


class Endpoint(Settings):
    """One OpenAI-compatible URL. Limits are the provider's for the whole run; workers share them out."""

    base_url: str = Field(description="up to and with /v1, such as http://127.0.0.1:8000/v1")
    model: str = Field(description="the model's name at this endpoint")
    api_key_env: str | None = Field(
        None, description="the environment variable that holds the key; default: no key is sent"
    )
    price: Price | None = Field(
        None, description="by which spending is counted; default: by teacher.prices, or docs/teacher.md, else unknown"
    )
    api_key_command: str | None = Field(
        None,
        description="a command that prints the key, for keys that expire: run again when one is refused; default: none",
    )
    headers: dict[str, TextOrEnv] = Field(
        {}, description="more headers of its requests; a secret one as {env: NAME}, from the environment"
    )
    query: dict[str, TextOrEnv] = Field({}, description="query parameters of its URL, such as api-version; as headers")
    in_flight: int | None = Field(None, ge=1, description="most requests in flight; default: teacher.concurrency")
    requests_per_minute: float | None = Field(
        None, gt=0, description="the provider's limit for the whole run; default: no limit"
    )
    tokens_per_minute: float | None = Field(None, gt=0, description="prompt and completion together; default: no limit")
    extra_body: JsonObject = Field({}, description="more fields of its requests' bodies, for routing alone")

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL such as https://api.deepseek.com/v1 is needed")
        if parts.username or parts.password or parts.query:
            raise ValueError("keys do not belong in the URL; name their variable in api_key_env")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_key(self) -> Endpoint:
        if self.api_key_env and self.api_key_command:
            raise ValueError("api_key_env and api_key_command both give the key; leave one out")
        for group, values in (("headers", self.headers), ("query", self.query)):
            for name, value in values.items():
                if isinstance(value, str) and name.lower() in SECRET_NAMES:
                    raise ValueError(f"{group}.{name}: keys do not belong in the file; write {{env: NAME}}")
        return self

    @property
    def host(self) -> str:
        """Host and port: where the passages go."""
        return urlsplit(self.base_url).netloc

    def body(self, messages: Sequence[Mapping[str, str]], sampling: JsonObject) -> JsonObject:
        """A request's body. OpenAI's own hosts call `max_tokens` `max_completion_tokens`, and refuse the older name for
        models that think."""
        body: JsonObject = {"model": self.model, "messages": [{**message} for message in messages], **sampling}
        if "max_tokens" in body and self.host.endswith(OPENAI_HOSTS):
            body["max_completion_tokens"] = body.pop("max_tokens")
        return {**body, **self.extra_body}

    def secret(self, number: int) -> SecretStr:
        """The key from the environment or the command, "" where none is needed. Raises ConfigError that names it."""
        place = f"teacher.endpoints.{number}"
        if self.api_key_command:
            return key_of_command(self.api_key_command, f"{place}.api_key_command")
        return SecretStr(secret(self.api_key_env, f"{place}.api_key_env") if self.api_key_env else "")

    def variables(self, number: int) -> dict[str, str]:
        """{setting: the environment variable it names} of this endpoint's secrets."""
        place = f"teacher.endpoints.{number}"
        named = {f"{place}.api_key_env": self.api_key_env} if self.api_key_env else {}
        for group, values in (("headers", self.headers), ("query", self.query)):
            named |= {
                f"{place}.{group}.{name}": value.env for name, value in values.items() if not isinstance(value, str)
            }
        return named

    def with_secrets(self, number: int) -> Endpoint:
        """The endpoint with the values of its headers and query read. Raises ConfigError that names the variable."""
        place = f"teacher.endpoints.{number}"
        groups = {"headers": self.headers, "query": self.query}
        read = {
            group: {name: value if isinstance(value, str) else value.read(f"{place}.{group}.{name}")
                    for name, value in values.items()}
            for group, values in groups.items()
        }  # fmt: skip
        return self.model_copy(update=read) if any(read.values()) else self
