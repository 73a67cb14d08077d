"""The limits of a server, each with what the client gets that meets it."""

from __future__ import annotations

from pydantic import Field

from distill.config import Settings


class ServeSettings(Settings):
    """What one server takes on; the defaults suit a search page: a hundred passages, an answer within a minute."""

    max_documents: int = Field(1000, ge=1, description="of one request; more: 413")
    max_characters: int = Field(50_000, ge=1, description="of a query, an instruction or a document; more: 413")
    max_body_mb: float = Field(16.0, gt=0, description="of a request's body; more: 413")
    max_waiting: int = Field(5000, ge=1, description="pairs of all requests that are not judged yet; more: 429")
    shed_share: float = Field(
        0.5, gt=0, le=1, description="of max_waiting, beyond which a student that thinks answers directly; 1: never"
    )
    client_share: float = Field(
        0.5, gt=0, le=1, description="of max_waiting that one address may hold while others wait too; more: 429"
    )
    timeout_s: float = Field(60.0, gt=0, description="from a request's arrival to its answer; later: 504")
    shadow_share: float = Field(0.1, gt=0, le=1, description="of the requests, that a shadow student judges too")
    shadow_waiting: int = Field(100, ge=1, description="requests that wait for the shadow; more are not judged by it")
    shadow_texts: bool = Field(False, description="whether the shadow's log holds queries and documents")
    drain_s: float = Field(30.0, ge=0, description="how long open requests may take once the server has to stop")
