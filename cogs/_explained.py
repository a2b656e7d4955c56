"""What answers here and why, in words."""

from bot.chat import words
from bot.chat.switch import Explanation
from bot.domain.chat import Place
from bot.policy.choice import Scope

_SHOWN = 5


def explained(explanation: Explanation) -> str:
    """Persona, model and route for the next message here."""
    persona, route = explanation.persona, explanation.route
    lines = [
        f"Persona: **{persona.name}** ({explanation.persona_reason})",
        f"Model: `{explanation.model}` ({explanation.model_reason})",
    ]
    if route.candidates:
        lines.append("Next message goes to, best first:")
        lines.extend(f"• {words.candidate_line(c)}" for c in route.candidates[:_SHOWN])
    else:
        lines.append("❌ Nobody can answer now.")
    if route.rejected:
        lines.append("Left out:")
        lines.extend(f"• {words.rejection_line(r)}" for r in route.rejected[:_SHOWN])
    return "\n".join(lines)


def for_whom(scope: Scope, place: Place) -> str:
    """The scope of a choice in words: ``for you here``."""
    match scope:
        case Scope.ME:
            return "for you here"
        case Scope.SERVER:
            return "for this server"
        case Scope.THREAD | Scope.CHANNEL:
            return "for this thread" if place.thread is not None else "for this channel"
