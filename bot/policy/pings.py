"""Whether somebody is told that their answer is ready, and in which words."""

from bot.domain.events import Failed, Finished, Stopped

PING_AFTER_S = 20.0
"""So long without a word, and people look at something else."""


def ping_words(end: Finished | Stopped | Failed, waited_s: float, person: str = "") -> str:
    """One short line of ours for who asked to be told; empty where there is nothing to tell.

    None of it is a model's: a line that notifies must say nothing that somebody else wrote.

    Args:
        end: How the answer ended.
        waited_s: From the question to the first word, or to the end of an answer without words.
            Who has begun to read needs no telling, however long it goes on.
        person: What notifies them; empty where any new message does.
    """
    if waited_s < PING_AFTER_S or (isinstance(end, Stopped) and end.by_asker):
        return ""
    match end:
        case Finished():
            what = "your answer is ready"
        case Stopped():
            what = "your answer was cut short"
        case Failed():
            what = "your question could not be answered"
    return f"🔔 {f'{person} {what}' if person else what.capitalize()}."
