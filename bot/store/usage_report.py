"""The ledger added up."""

import sqlite3
from collections.abc import Mapping
from typing import Literal

from bot.domain.cloud import UsageLine
from bot.policy.periods import Period

By = Literal["all", "server", "user", "model", "answered_by", "day"]

_COLUMNS: Mapping[By, str] = {
    "all": "''",
    "server": "server",
    "user": "user",
    "model": "model",
    "answered_by": "answered_by",
    "day": "day",
}
_SUMS = """
SELECT {column} AS name,
    total(source = 'cloud' AND state = 'settled') AS cloud_calls,
    total(source = 'local') AS local_turns,
    total(source = 'cache') AS cached_turns,
    sum(iif(source <> 'cache', prompt_tokens, 0)) AS prompt_tokens,
    sum(iif(source <> 'cache', completion_tokens, 0)) AS completion_tokens,
    sum(cost_micro_usd) AS cost_micro_usd,
    sum(iif(state = 'reserved', reserved_micro_usd, 0)) AS reserved_micro_usd,
    sum(iif(basis IN ('counted', 'worst'), cost_micro_usd, 0)) AS assumed_micro_usd,
    total(price_known = 0 AND state = 'settled') AS unknown_price_calls,
    sum(iif(source <> 'cloud', prompt_tokens, 0)) AS free_prompt_tokens,
    sum(iif(source <> 'cloud', completion_tokens, 0)) AS free_completion_tokens,
    1000.0 * sum(iif(generation_ms > 0, completion_tokens, 0)) / nullif(sum(generation_ms), 0)
        AS tokens_per_s
FROM ledger
WHERE day BETWEEN :first AND :last AND (:user IS NULL OR user = :user)
    AND (:server IS NULL OR server = :server)
GROUP BY 1
ORDER BY {order}
"""
_DEAREST_FIRST = "cost_micro_usd DESC, completion_tokens DESC, name"


def report(
    connection: sqlite3.Connection, period: Period, by: By, user: str | None, server: str | None
) -> tuple[UsageLine, ...]:
    """The turns of a period by a column, dearest first; days in their order."""
    query = _SUMS.format(column=_COLUMNS[by], order="name" if by == "day" else _DEAREST_FIRST)
    values = {"first": period.first, "last": period.last, "user": user, "server": server}
    return tuple(_line(row) for row in connection.execute(query, values))


def _line(row: sqlite3.Row) -> UsageLine:
    return UsageLine(
        name=row["name"],
        cloud_calls=int(row["cloud_calls"]),
        local_turns=int(row["local_turns"]),
        cached_turns=int(row["cached_turns"]),
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_micro_usd=row["cost_micro_usd"],
        reserved_micro_usd=row["reserved_micro_usd"],
        assumed_micro_usd=row["assumed_micro_usd"],
        unknown_price_calls=int(row["unknown_price_calls"]),
        free_prompt_tokens=row["free_prompt_tokens"],
        free_completion_tokens=row["free_completion_tokens"],
        tokens_per_s=row["tokens_per_s"],
    )
