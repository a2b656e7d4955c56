"""What simulated models say in tests that do not say what they want to hear."""

from dataclasses import replace

from bot.sim.answers import Answer, Asked, default_answer, tokenise


def brief(asked: Asked) -> Answer:
    """A few words: each token is a message on a wire, and the demo's answer has 130 of them.

    Whoever wants more or something else directs it (``[[tokens 40]]``), as in the demo; a model
    that was shown pictures says so.
    """
    answer = default_answer(asked)
    if any(message.images or "[[" in message.text for message in asked.messages):
        return answer
    return replace(answer, content=tokenise("A simulated answer of a few plain words."))
