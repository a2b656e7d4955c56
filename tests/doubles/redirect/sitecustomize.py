"""Points discord.py at a double; Python runs this at start when its folder is on the path.

Nothing is imported early, so that the program under test starts as it always does: the two modules
that hold Discord's addresses are changed just after they were loaded, and so are those with a
constant that a test wants shorter.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Change = Callable[[ModuleType], None]


def _http(url: str, module: ModuleType) -> None:
    module.Route.BASE = f"{url}/api/v10"


def _gateway(url: str, module: ModuleType) -> None:
    from yarl import URL  # loaded by then

    address = f"{url}/gateway".replace("http", "ws", 1)
    module.DiscordWebSocket.DEFAULT_GATEWAY = URL(address)


def _constants(values: Mapping[str, object], module: ModuleType) -> None:
    for name, value in values.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, value)


def wanted(environ: Mapping[str, str]) -> dict[str, Change]:
    """What to change in which module.

    ``DISCORD_DOUBLE`` is where the double listens, as http://127.0.0.1:PORT;
    ``CHANGED_CONSTANTS`` is JSON such as {"bot.commands.run": {"DRAIN_S": 1}}.
    """
    constants: dict[str, dict[str, object]] = json.loads(environ.get("CHANGED_CONSTANTS", "{}"))
    changes: dict[str, Change] = {
        name: partial(_constants, values) for name, values in constants.items()
    }
    if url := environ.get("DISCORD_DOUBLE"):
        changes |= {"discord.http": partial(_http, url), "discord.gateway": partial(_gateway, url)}
    return changes


class Finder:
    """Finds those modules as Python would and changes them once they were run."""

    def __init__(self, changes: Mapping[str, Change]) -> None:
        self._changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change = self._changes.get(name)
        spec = PathFinder.find_spec(name, path, target) if change is not None else None
        if change is None or spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            change(module)

        spec.loader.exec_module = run_and_change
        return spec


sys.meta_path.insert(0, Finder(wanted(os.environ)))
