"""Reads everything that can be set into one frozen tree, or lists every fault.

Only the root and the command line read settings; rooms are given plain values.
"""

from bot.settings.load import load_settings
from bot.settings.loaded import Loaded, masked, missing_for_hosts, missing_for_run, schema
from bot.settings.tree import Settings

__all__ = [
    "Loaded",
    "Settings",
    "load_settings",
    "masked",
    "missing_for_hosts",
    "missing_for_run",
    "schema",
]
