"""``python -m bench.discord STANDIN [PLAY ...]``: plays Lantern before a stand-in for Discord.

STANDIN is the folder of its package, started and steered as its README says. A PLAY is one of
PLAYS, or one scene of it as PLAY.SCENE; all of them without any. STANDIN_PYTHON is the interpreter
it runs by, where it needs more than is installed here. Exit 1 when a check failed.
"""

import asyncio
import importlib
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

HOUSE = Path(__file__).parents[2]
# Doubles and texts that the tests use, too.
sys.path[:0] = [str(HOUSE / "tests" / "doubles"), str(HOUSE / "tests" / "helpers")]

from bench.discord.rig import Rig, Row, raised  # noqa: E402
from bench.discord.stage import Stage  # noqa: E402
from bench.discord.standin import NoStandIn  # noqa: E402
from bench.discord.verdict import verdict  # noqa: E402

PLAYS = ("surface", "crowd", "faults", "together", "restart", "hostile")
"""Modules of this folder with a docstring, a ``STAGE`` and ``SCENES``."""
NEEDS = "bench.discord needs a stand-in for Discord: python -m bench.discord STANDIN [PLAY ...]"


async def played(name: str, package: Path) -> list[Row]:
    """Every check of a play, or of one of its scenes."""
    play, _, wanted = name.partition(".")
    module = importlib.import_module(f"bench.discord.{play}")
    stage: Stage = module.STAGE
    scenes: tuple[Callable[[Rig], Awaitable[None]], ...] = module.SCENES
    chosen = [scene for scene in scenes if wanted in ("", scene.__name__)]
    assert chosen, f"{play} has {', '.join(scene.__name__ for scene in scenes)}"
    with tempfile.TemporaryDirectory(prefix=f"lantern-{play}-") as folder:
        async with raised(play, stage, Path(folder), package) as rig:
            for scene in chosen:
                await rig.scene(scene)
            await rig.scene(verdict)
    return rig.rows


def main(arguments: list[str]) -> int:
    """Plays, prints a line a check; gives the exit code."""
    if not arguments or not Path(arguments[0], "__main__.py").is_file():
        print(NEEDS)
        return 2
    package, names = Path(arguments[0]).resolve(), arguments[1:] or list(PLAYS)
    unknown = [name for name in names if name.partition(".")[0] not in PLAYS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are: {', '.join(PLAYS)}")
        return 2
    rows: list[Row] = []
    for name in names:
        try:
            rows += asyncio.run(played(name, package))
        except NoStandIn as error:
            print(f"{NEEDS}; this one does not start: {error}")
            return 2
        except Exception as error:
            traceback.print_exc()
            rows.append(Row(name, "its stage comes up, and down again", False, repr(error)))
            print(rows[-1])
    failed = sum(not row.holds for row in rows)
    print(f"{len(rows)} checks in {len(names)} plays, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
