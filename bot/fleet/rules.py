"""How the fleet goes about its work; plain values from the settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FleetRules:
    """Times are seconds."""

    probe_every_s: float = 30.0
    probe_timeout_s: float = 5.0
    sweep_every_s: float = 30.0
    evict_foreign: bool = False
    call_timeout_s: float = 10.0
    """Longest a host that is at work may take to list what it has loaded."""
    unload_timeout_s: float = 60.0
    """Longest an unload may take."""
    load_answer_s: float = 180.0
    """Longest a host may leave a load command without any word, where it gives words (sockets).

    Well above a cold load of two minutes: a loader may have no word to say before it is done.
    """
    load_stall_s: float = 600.0
    """Longest a load may go without progress; REST reports none, so this bounds it whole."""
