"""What a provider answers under a request's limits: plain arithmetic over tokens."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.sim.answers import Answer, tokenise
from bot.sim.prompts import script
from bot.sim.providers.asking import Ask
from bot.sim.providers.faults import Fault, FaultName

Finish = Literal["stop", "stop_sequence", "length", "window", "refused", "broken"]

_NO_LIMIT = 1_000_000_000
_SWALLOWED = 512
"""How much thinking an empty answer shows when the request set no smaller limit."""
_LESS = 8
"""Thinking less is thinking an eighth."""
_MUSING = tokenise(" I look at the question once more and weigh what matters before I answer.")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counts them."""

    prompt: int
    completion: int
    cached: int = 0
    thinking: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, ready to be sent in either wire's form."""

    reply_id: str
    created: int
    """Unix seconds."""
    model: str
    reasoning: tuple[str, ...]
    content: tuple[str, ...]
    finish: Finish
    stopped_by: str | None
    prompt_tokens: int
    cached_tokens: int
    code: str = ""
    """Which form of a refusal or breakdown was asked for."""
    calls: str = ""
    """A tool's name: the content is then its arguments."""

    @property
    def usage(self) -> Usage:
        """What the whole of it counts."""
        return self.usage_at(len(self.content))

    def usage_at(self, texts: int) -> Usage:
        """Return what it counts after so many tokens of text."""
        thought = len(self.reasoning)
        return Usage(self.prompt_tokens, thought + texts, self.cached_tokens, thought)


@dataclass(frozen=True, slots=True)
class _Said:
    reasoning: tuple[str, ...]
    content: tuple[str, ...]
    finish: Finish
    stopped_by: str | None = None


def compose(
    ask: Ask,
    answer: Answer,
    faults: Mapping[FaultName, Fault],
    *,
    reply_id: str,
    created: int,
    prompt_tokens: int,
    cached_tokens: int,
) -> Reply:
    """Return the reply to a request, as its limits and the dials that are set have it."""
    body = _limited(ask, answer, prompt_tokens)
    for name, fault in faults.items():
        body = _ended_by(name, fault, body, _limit(ask, prompt_tokens))
    return Reply(
        reply_id=reply_id,
        created=created,
        model=ask.model.reply_name or ask.model.key,
        reasoning=body.reasoning,
        content=body.content,
        finish=body.finish,
        stopped_by=body.stopped_by,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        code=next((fault.code for fault in faults.values()), ""),
    )


def _limit(ask: Ask, prompt_tokens: int) -> int:
    asked = ask.model.max_output if ask.max_tokens is None else ask.max_tokens
    return max(0, min(asked, ask.model.window - prompt_tokens))


def _limited(ask: Ask, answer: Answer, prompt_tokens: int) -> _Said:
    limit = _limit(ask, prompt_tokens)
    thought = _thought(ask, answer)
    said, stopped_by = _until_stop(answer.content, ask.stop)
    if len(thought) + len(said) <= limit:
        return _Said(thought, said, "stop" if stopped_by is None else "stop_sequence", stopped_by)
    is_window = ask.max_tokens is not None and limit < ask.max_tokens
    kept = thought[:limit]
    return _Said(kept, said[: limit - len(kept)], "window" if is_window else "length")


def _thought(ask: Ask, answer: Answer) -> tuple[str, ...]:
    if ask.model.thinking == "never" or ask.thinks == "off":
        return ()
    thought = answer.reasoning
    if not thought and ask.model.thinking == "always":
        thought = _MUSING
    return thought[: max(1, len(thought) // _LESS)] if ask.thinks == "less" else thought


def _until_stop(
    content: tuple[str, ...], stop: Sequence[str]
) -> tuple[tuple[str, ...], str | None]:
    made = script(Answer(content), max_tokens=None, stop=stop, room=_NO_LIMIT)
    said = tuple(token.text for token in made.tokens)
    if made.stop_reason != "stopStringFound":
        return said, None
    text = "".join(content)
    found = [(at, word) for word in stop if word and (at := text.find(word)) >= 0]
    return said, min(found)[1]


def _ended_by(name: FaultName, fault: Fault, body: _Said, limit: int) -> _Said:
    match name:
        case "empty":
            thought = itertools.islice(itertools.cycle(_MUSING), min(limit, _SWALLOWED))
            return _Said(tuple(thought), (), "length")
        case "refused_midway" | "refused":
            return _Said(body.reasoning, body.content[: fault.after_tokens], "refused")
        case "window_full":
            return _Said(body.reasoning, body.content[: fault.after_tokens], "window")
        case _:
            return _Said(body.reasoning, body.content[: fault.after_tokens], "broken")
