"""The base of the models of JSON answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """An object that is answered."""

    model_config = ConfigDict(extra="forbid")
