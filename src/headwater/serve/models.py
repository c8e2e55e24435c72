"""What crosses the border of the HTTP API, as pydantic models.

`Status` and `Receipt` are plain data of `runtime.status` and are documented from there; what only
the API says is here.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.runtime.consumer import LEASE_SECONDS
from headwater.runtime.status import Rejection

ROWS_MAX = 1_000_000
OFFSET_MAX = (1 << 63) - 1
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
    duplicate: int


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


class ConsumerCommit(BaseModel):
    """What to commit when the rows of an answer are done."""

    partition: int
    position: int
    start: int = Field(alias="from")
    member: str | None = None


class ConsumerAnswer(RowsAnswer):
    """Rows that a consumer group is to read next."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "partition": 0,
                "committed": 41,
                "from": 41,
                "position": 42,
                "end": 97,
                "lost": 0,
                "commit": {"partition": 0, "position": 42, "from": 41, "member": "worker-1"},
                "columns": [{"name": "carrier", "type": "VARCHAR"}],
                "rows": [{"carrier": "UA", "_weight": 1, "_epoch": 9, "_offset": 41}],
            }
        }
    )

    partition: int = Field(description="Of which partition they are")
    committed: int = Field(description="Where the group stood in it")
    start: int = Field(alias="from", description="Where the reading began")
    position: int = Field(description="Where to read on, and what to commit")
    end: int = Field(description="The offset after the last row that is there")
    lost: int = Field(description="Rows before these that retention removed")
    commit: ConsumerCommit = Field(description="The body of the commit, when they are done")


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


class RowsSent(_Wanted):
    """Where rows go, and who sends them."""

    partition: int = Field(default=0, ge=0, description="The partition to append to")
    producer: str | None = Field(
        default=None,
        description="Who sends, by a name of its own; a batch that it sends twice is appended once",
    )
    sequence: int | None = Field(
        default=None,
        ge=0,
        lt=1 << 63,
        description="The producer's number for this batch, higher than that of the one before",
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


class ConsumerWanted(_Wanted):
    """Which rows a consumer wants, and how they are spelled."""

    limit: int = Field(
        default=1_000, ge=1, le=ROWS_MAX, description="About how many rows; whole epochs of a view"
    )
    wait: float = Field(
        default=0.0, ge=0.0, le=60.0, description="So many seconds to wait for the first"
    )
    partition: int | None = Field(
        default=None, ge=0, le=OFFSET_MAX, description="Only of this partition"
    )
    after: str = Field(
        default="",
        pattern=r"^([0-9]{1,18}(,[0-9]{1,18})*)?$",
        max_length=20_000,
        description="Read from here on, and not from where the group stands: an offset for each "
        "partition, with commas",
    )
    newest: bool = Field(default=False, description="Only the newest row of each key")
    key: str = Field(
        default="",
        max_length=1_000,
        description="The columns of the key, with commas; none: those that are known",
    )
    member: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Who reads: no other member of the group is given these rows meanwhile",
    )
    lease: float = Field(
        default=LEASE_SECONDS, gt=0.0, le=86_400.0, description="For so many seconds"
    )
    format: str | None = Field(
        default=None,
        description="`json` (default), `ndjson`, `csv` or `arrow`; else Accept decides",
    )


class CommitWanted(_Wanted):
    """All rows of a partition before a position are done."""

    position: int = Field(ge=0, le=OFFSET_MAX, description="The position that came with the rows")
    partition: int = Field(default=0, ge=0, le=OFFSET_MAX)
    start: int | None = Field(
        default=None,
        alias="from",
        ge=0,
        le=OFFSET_MAX,
        description="Where the group stood when they were read; if it stands elsewhere by now the "
        "commit is refused",
    )
    member: str | None = Field(default=None, description="Who read them")


class SeekWanted(_Wanted):
    """Where a group is to stand: a start for all partitions, or a position in one."""

    start: str = Field(
        default="", alias="from", description="`start`, `now`, or a time: rows that came since"
    )
    position: int = Field(default=-1, ge=-1, le=OFFSET_MAX, description="An offset")
    partition: int = Field(default=0, ge=0, le=OFFSET_MAX, description="Of this partition")

    @model_validator(mode="after")
    def _has_one(self) -> SeekWanted:
        if bool(self.start) == (self.position >= 0):
            raise ValueError('say either {"from": ...} or {"position": ...}')
        return self


class ReleaseWanted(_Wanted):
    """A member lets go of what it has in hand."""

    member: str = Field(description="Which member", min_length=1, max_length=200)


class RejectedWanted(_Wanted):
    """Which of a topic's rejected rows, and how they are spelled."""

    offset_from: int = Field(default=0, ge=0, alias="from", description="The first offset")
    limit: int = Field(default=1_000, ge=1, le=ROWS_MAX, description="The most rows")
    format: str | None = Field(
        default=None,
        description="`ndjson` (default), `json`, `csv` or `arrow`; else Accept decides",
    )


class RejectedSent(_Wanted):
    """Which rejected rows the repaired ones in the body stand for."""

    offset_from: int | None = Field(
        default=None, ge=0, alias="from", description="The first of them: the first that waits"
    )
    offset_to: int | None = Field(
        default=None, ge=0, alias="to", description="The offset after the last of them"
    )
    partition: int = Field(default=0, ge=0, description="The partition that they were sent to")


class SchemaWanted(_Wanted):
    """What is to change of a topic's columns, named as they are now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "add": ["cost DOUBLE DEFAULT 0"],
                "widen": {"ad": "BIGINT"},
                "rename": {"visitor": "user"},
                "drop": ["debug"],
                "dry_run": True,
            }
        },
    )

    add: list[str] = Field(default_factory=list, description="Columns, as a declaration has them")
    widen: dict[str, str] = Field(default_factory=dict, description="Wider types, by column")
    rename: dict[str, str] = Field(
        default_factory=dict, description="New names, by column; the old one is still understood"
    )
    drop: list[str] = Field(default_factory=list, description="Columns that go")
    dry_run: bool = Field(default=False, description="Only say what would change and break")


class SqlQuestion(BaseModel):
    """One SELECT."""

    sql: str = Field(description="One SELECT over topics, tables and views", min_length=1)


class Health(BaseModel):
    """The process answers."""

    status: str = Field(default="ok", description="`ok`, or `unwell` when /status names problems")
    epoch: int
