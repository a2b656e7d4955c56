"""What must hold after every play, over all that the stand-in and Lantern's log noted."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from statistics import median

from bench.discord.rig import Rig
from bench.discord.standin import Json

IN_TIME_S = 2.5
"""What comes in by then is in time, though the stand-in then checks a large panel for seconds."""


async def verdict(rig: Rig) -> None:
    """What must hold after every play, over all that Discord and the log noted."""
    _check_interactions(
        rig, await rig.discord.log(kind="interaction"), await rig.discord.log(kind="rest")
    )
    for kind in ("spec_violation", "unimplemented", "banned"):
        noted = await rig.discord.log(kind=kind)
        rig.check(f"0 {kind}", not noted, noted[:2] or 0)
    limited = await rig.discord.log(kind="rate_limited")
    rig.check(
        f"at most {rig.stage.limited} rate_limited", len(limited) <= rig.stage.limited, limited[:3]
    )
    pings = await rig.discord.log(kind="ping")
    rig.check(f"{rig.stage.pings} pings by the bot", len(pings) == rig.stage.pings, pings[:3])
    left = [m.text[-150:] for m in rig.discord.mine(hidden=True) if m.is_working]
    rig.check("nothing promises more than it holds", not left, left)
    code = await rig.stop()
    rig.check("ends by SIGTERM with exit 0", code == 0, code)
    _check_database(rig)
    errors = [line for life in rig.lives for line in life.lines if _is_error(rig, line)]
    rig.check("no error in the log", not errors, errors[:2] or 0)


def _check_interactions(rig: Rig, begun: list[Json], rest: list[Json]) -> None:
    codes = rig.stage.refused
    bad = [e for e in rest if e["status"] == 400 and e["error"].get("code") not in codes]
    rig.check("nothing Discord cannot read", not bad, [(e["path"], e["error"]) for e in bad[:2]])
    came = {e["path"].split("/")[2]: e["t"] for e in reversed(rest) if "/callback" in e["path"]}
    took = {
        e["interaction"]: came[e["interaction"]] - e["t"] - _still_s(rig, e, came)
        for e in begun
        if e["interaction"] in came
    }
    late = [e["name"] for e in begun if took.get(e["interaction"], 99) > IN_TIME_S]
    all_s = list(took.values()) or [0.0]
    usual, most = median(all_s) * 1e3, max(all_s) * 1e3
    seen = f"{len(took)}, {usual:.0f} ms, at most {most:.0f}"
    wanted = f"at most {rig.stage.failed} interactions late or unanswered"
    rig.check(wanted, len(late) <= rig.stage.failed, f"{seen}; {late}" if late else seen)


def _still_s(rig: Rig, begun: Json, came: Mapping[str, float]) -> float:
    return rig.discord.stood_still_s(begun["t"], came[begun["interaction"]])


def _check_database(rig: Rig) -> None:
    with closing(sqlite3.connect(rig.folder / "lantern.db")) as database:
        left = database.execute(
            "SELECT (SELECT count(*) FROM turn WHERE status = 'running'),"
            " (SELECT count(*) FROM reply WHERE is_open),"
            " (SELECT count(*) FROM question WHERE is_open)"
        ).fetchone()
        rig.check("nothing is left open in the database", left == (0, 0, 0), left)
        (whole,) = database.execute("PRAGMA integrity_check").fetchone()
        rig.check("the database is whole", whole == "ok", whole)


def _is_error(rig: Rig, line: str) -> bool:
    if not line.startswith("{"):
        return "Traceback" in line
    entry = json.loads(line)
    is_bad = entry.get("level") in ("error", "critical") or "exception" in entry
    return is_bad and not any(words in line for words in rig.stage.logged)
