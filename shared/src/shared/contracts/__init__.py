"""What crosses a process boundary, one module per owning service."""

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A frozen message between services; unknown fields are ignored so that services deploy in any order."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PublicRequest(BaseModel):
    """A frozen body sent by the public; unknown fields are refused and named, so that a typo is reported."""

    model_config = ConfigDict(frozen=True, extra="forbid")
