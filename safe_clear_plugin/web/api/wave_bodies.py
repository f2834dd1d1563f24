"""The waves of a clear in the bodies of requests, and going on with a clear that waits for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.core.waves import RunOrder, Then, Waves
from safe_clear_plugin.web.api.types import Maybe, Moment, Named, Reason, Request, read_moment

RunNumber = Annotated[int, Field(ge=1, le=input_limits.OFFSET)]
FIELD = "waves"


class WavesRequest(Request):
    """The waves of a clear. At least one field is given, and none contradicts another."""

    all_at_once: bool = Field(
        False, description="As fast as it goes, also where `[safe_clear] canary_above` says otherwise."
    )
    first_runs: Maybe[RunNumber] = Field(None, description="Number of dag runs to clear first.")
    then: Maybe[Named[Then]] = Field(
        None,
        description="Once they are done: `ask` a person, or `go_on` if all of them succeeded. "
        "With `first_runs`, `ask` if it is left out.",
    )
    at_most_runs: Maybe[RunNumber] = Field(
        None, description="Greatest number of cleared dag runs that are unfinished at one time."
    )
    stop_after_failed: Maybe[RunNumber] = Field(
        None, description="Number of failed dag runs at which the clear waits for a person."
    )
    order: Maybe[Named[RunOrder]] = Field(
        None, description="The dag runs to clear first; `oldest` if it is left out."
    )
    not_before: Maybe[Moment] = Field(None, description="Do not begin before this time.")

    @model_validator(mode="after")
    def _says_something(self) -> WavesRequest:
        others = self.model_fields_set - {"all_at_once"}
        if self.all_at_once and others:
            raise PydanticCustomError("waves", "Send `all_at_once`, or how to go in waves, but not both.")
        if not self.all_at_once and not others:
            raise PydanticCustomError("waves", "This says nothing. Say how to go in waves, or leave it out.")
        return self

    def waves(self) -> Waves | None:
        """Return what was asked for; ``None`` for all at once.

        :raises Refused: 422 with what contradicts itself, by field
        """
        if self.all_at_once:
            return None
        then = self.then or (Then.ASK if self.first_runs is not None else None)
        try:
            return Waves(
                first_runs=self.first_runs,
                then=then,
                at_most_runs=self.at_most_runs,
                stop_after_failed=self.stop_after_failed,
                order=self.order or RunOrder.OLDEST,
                not_before=self._moment(),
            )
        except Invalid as invalid:
            raise refusal(*invalid.problems) from None

    def _moment(self) -> datetime | None:
        return read_moment(self.not_before, ZoneInfo("UTC"), end=False) if self.not_before else None


def refusal(*problems: Problem) -> Refused:
    """Return the refusal of waves, with each problem at its field."""
    errors: dict[str, list[str]] = {}
    for one in problems:
        errors.setdefault(f"{FIELD}.{one.field}" if one.field else FIELD, []).append(str(one))
    first = problems[0]
    at = f"`{next(iter(errors))}`: "
    return Refused(422, Problem(f"{at}{first.reason}", first.remedy), {"errors": errors})


class WavesChange(Request):
    """Change the waves of a clear in progress."""

    waves: WavesRequest
    reason: Maybe[Reason] = None


class ContinueRequest(Request):
    """Go on with a clear that waits for a person."""

    skip_failed: bool = Field(False, description="Go on although runs failed; they do not count any more.")
    waves: Maybe[WavesRequest] = Field(None, description="The waves from now on.")
    reason: Maybe[Reason] = None
