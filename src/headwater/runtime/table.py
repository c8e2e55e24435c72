"""One table at work: the newest row of each key, and the changelog that views read.

A row that is sent to a table withdraws the row of the same key that stood before it in the log.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.upsert import UpsertOperator
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.view import Content
