"""What crosses the border of the HTTP API, as pydantic models.

`Status` and `Receipt` are plain data of `runtime.status` and are documented from there; what only
the API says is here.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from headwater.runtime.status import Rejection

ROWS_MAX = 1_000_000
_FROM = "The first offset; negative: so many before the end"


class PlaceDetail(BaseModel):
    """Where in the text that was sent."""

    source: str = Field(description="What the text is, for example `SQL`")
    text: str = Field(description="The whole text")
    line: int = Field(description="The line at fault, counted from 1")
    start: int = Field(description="Index of the first character at fault")
    end: int = Field(description="Index after the last character at fault")
    underlined: str = Field(description="The line, and below it a rule under the fault")


class ErrorDetail(BaseModel):
    """What is wrong, where, and what to do."""

    kind: str = Field(description="One word: `definition`, `record`, `not_found`, `state`, ...")
    message: str = Field(description="What is wrong, with the values")
    hint: str | None = Field(default=None, description="What to do, as something that can be typed")
    place: PlaceDetail | None = Field(
        default=None, description="Where, if it has a place in a text"
    )


class ErrorAnswer(BaseModel):
    """The answer to every request that is refused or fails."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "kind": "not_found",
                    "message": "there is no topic click",
                    "hint": "did you mean clicks?",
                    "place": None,
                }
            }
        }
    )

    error: ErrorDetail


class RefusedReceipt(BaseModel):
    """The answer to a batch of which no row was taken. The rows are kept, as rejected rows."""

    error: ErrorDetail
    topic: str
    accepted: int
    rejected: int
    offset_first: int
    partition: int
    rejections: tuple[Rejection, ...]


class ColumnDetail(BaseModel):
    """A column of an answer."""

    name: str
    type: str = Field(description="The type, as SQL spells it")


class RowsAnswer(BaseModel):
    """Rows, each an object by column name, and the columns in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "columns": [
                    {"name": "carrier", "type": "VARCHAR"},
                    {"name": "n", "type": "BIGINT"},
                ],
                "rows": [{"carrier": "UA", "n": 58665}, {"carrier": "B6", "n": 54635}],
            }
        }
    )

    columns: list[ColumnDetail]
    rows: list[dict[str, Any]]


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ContentWanted(_Wanted):
    """Which part of a view's content, and how it is spelled."""

    limit: int | None = Field(default=None, ge=0, description="The most rows; none: all")
    format: str | None = Field(
        default=None,
        description="`json` (default), `ndjson`, `csv` or `arrow`; else Accept decides",
    )


class ChangesWanted(_Wanted):
    """Which part of a view's changes, and how it is spelled."""

    offset_from: int = Field(default=0, alias="from", description=_FROM)
    limit: int = Field(
        default=1_000, ge=1, le=ROWS_MAX, description="The most rows of a page, in whole epochs"
    )
    format: str | None = Field(
        default=None,
        description="`sse` (default), `ndjson`, `json`, `csv` or `arrow`; else Accept decides",
    )


class RowsWanted(_Wanted):
    """Which part of a topic, and how it is spelled."""

    offset_from: int = Field(default=0, alias="from", description=_FROM)
    limit: int = Field(default=1_000, ge=1, le=ROWS_MAX, description="The most rows")
    partition: int = Field(default=0, ge=0, description="The partition to read")
    format: str | None = Field(
        default=None,
        description="`ndjson` (default), `json`, `csv` or `arrow`; else Accept decides",
    )


class SqlQuestion(BaseModel):
    """One SELECT."""

    sql: str = Field(description="One SELECT over topics, tables and views", min_length=1)


class Health(BaseModel):
    """The process answers."""

    status: str = Field(default="ok", description="`ok`, or `unwell` when /status names problems")
    epoch: int
