"""What is looked at while the bytes of a streamed answer pass through: model, usage, error, end.

The shapes are the host's own and stay so: a chunk rebuilt is a chunk that can be broken (LiteLLM
cut a stream of equal chunks). Only the first events and the few that matter are parsed.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Literal

from bot.domain.chat import Usage
from bot.domain.errors import FailureKind
from bot.domain.values import value
from bot.inference.errors import classify_event
from bot.inference.exchange import whole_chunks
from bot.inference.wire import (
    Verdict,
    WireFault,
    count_of,
    extended_json,
    first_of,
    from_json,
    garbage,
    is_object,
    object_of,
    text_of,
)

Form = Literal["chat", "text", "responses", "messages"]
"""``/chat/completions``, ``/completions``, ``/responses``, Anthropic's ``/messages``."""

MAX_BLOCK_BYTES = 8 << 20
"""One event may hold a whole answer (``response.completed``), but not more than a host's memory."""

MOST_HELD = 1000
"""So many events before the first word are no answer."""

MOST_LENGTHS = 250
"""Different lengths of reads that are remembered of one stream: words have some twenty."""

DONE = b"data: [DONE]\n\n"

# Whatever says more than words: quotes inside a JSON string are escaped, and the others, spoken of
# by a model, only cost a closer look.
_MARKS = (
    b'"usage"',
    b'"error"',
    b'"finish_reason":"',
    b'"finish_reason": "',
    b"[DONE]",
    b'"response"',
    b"message_",
    b"event: error",
)
_WORDS = re.compile(rb'"(?:content|reasoning_content|reasoning|text)": ?"([^"\\\n]*)"')
"""The words of a chunk; those with an escape in them are searched each time."""
_HEAD = {
    "id": re.compile(rb'("id": ?)"(?:[^"\\]|\\.)*"'),
    "created": re.compile(rb'("created": ?)\d+'),
    "model": re.compile(rb'("model": ?)"(?:[^"\\]|\\.)*"'),
}
"""What each event of a stream says of it."""
_ROLE = re.compile(rb'"role": ?"assistant", ?')
_ENDS = (b'"type":"response.completed"', b'"type":"response.incomplete"', b'"type":"message_stop"')


@value
class OwnHead:
    """What stands in a stream's chunks in place of the host's own."""

    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """Any of ``id``, ``created`` and ``model``."""
    drops_role: bool | None = None
    """The client joins what comes of one name, and LM Studio says the role in each chunk: is it
    said already, or first by the host? None leaves it as it came."""


def _nothing(usage: Usage, told: Mapping[str, object]) -> Mapping[str, object]:
    return {}


class Passing:
    """Fed the bytes of one event stream, torn anywhere; gives what may be passed on of them.

    Nothing is given before the model named by the first event was found to be the one asked for:
    with one model in memory LM Studio answers any name with it (its tracker, bug 619). Nor before
    the first words: servers that name the role at once and read the prompt after it could not be
    replaced by another, once that event was passed on, though they had answered nothing.
    """

    def __init__(
        self,
        form: Form,
        accepted: frozenset[str],
        *,
        wants_usage: bool = True,
        own_head: Callable[[], OwnHead] = OwnHead,
        beside_usage: Callable[[Usage, Mapping[str, object]], Mapping[str, object]] = _nothing,
        out: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        """Begin a stream.

        Args:
            form: Whose events these are.
            accepted: Names the answer may give as its model; empty accepts any.
            wants_usage: The client asked for the usage chunk of a chat; else it is kept back.
            own_head: Asked when the first words pass: what stands in place of the host's own.
            beside_usage: Given the usage that a chunk of a chat tells, and its fields: what else it
                is to tell.
            out: Takes HTTP's chunks that go straight on, or refuses them.
        """
        self._form: Form = form
        self._accepted = accepted
        self._wants_usage = wants_usage or form in ("responses", "messages")
        self._own_head = own_head
        self._beside_usage = beside_usage
        self._out = out
        self._head: dict[str, re.Match[bytes]] = {}
        """The fields of the host's first event that may be swapped."""
        self._drops_role: bool | None = None
        """Of the next chunk that says it; None leaves each as it is."""
        self._swaps: tuple[tuple[bytes, bytes], ...] = ()
        self._held: list[bytes] | None = []
        """What came before the first words; None once it was passed on."""
        self._rest = b""
        self._gap = b""
        self._frame = (b"", b"")
        """What stood before and behind the words of the newest chunk searched for marks."""
        self._alike: dict[int, tuple[bytes, int, int]] = {}
        """Of reads of so many bytes that are one such chunk: what they begin with, its size and
        what stands before its words, and from where to where those go. Emptied by what is fed."""
        self._tail = b""
        """What such reads end with."""
        self.model = ""
        """As the first event named it."""
        self.usage = Usage()
        """As the host told it; of a chat it does so at the end."""
        self.finish = ""
        """Its reason to stop, once it gave one."""
        self.has_begun = False
        """Has any text, reasoning or tool call come?"""
        self.deltas = 0
        """Events since then: about a token each, where the host did not count."""
        self.is_whole = False
        """Did the end mark come?"""
        self.fault: Verdict | None = None
        """Why nothing more is passed on: an error, another model, no event stream, a cut."""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on now; where a fault was found, only what came before it."""
        if self.fault is not None:
            return b""
        self._alike.clear()
        data, self._rest = self._rest + data, b""
        if not self._gap:
            # The first empty line tells what parts the events of the whole stream.
            ends = [(at, gap) for gap in (b"\n\n", b"\r\n\r\n") if (at := data.find(gap)) >= 0]
            self._gap = min(ends)[1] if ends else b""
        gap = self._gap
        complete, parted, self._rest = data.rpartition(gap) if gap else (b"", b"", data)
        passed: list[bytes] = []
        try:
            for block in complete.split(gap) if parted else ():
                if kept := self._look(block):
                    passed += (kept,)
            if len(self._rest) > MAX_BLOCK_BYTES:
                raise garbage("one event is larger than any answer")
            if self._held is not None and len(self._held) + len(passed) > MOST_HELD:
                raise garbage("it speaks without saying a word")
        except WireFault as found:
            self.fault = found.verdict
        return self._released(passed, gap)

    def straight(self, data: bytes) -> bool:
        """Passes on a read that nobody need look into: whole events of words alone.

        Args:
            data: Of an answer in HTTP's chunks, as it came.

        Returns:
            Did it pass, as it came or with our id? Else it must be fed.
        """
        # Most reads are one event that differs from an earlier one in its words alone, which hold
        # no bare quote. To part HTTP's chunks and search each for marks cost twice what the system
        # takes to receive and send it; so each step here is one that cannot be left out.
        if like := self._alike.get(len(data)):
            head, begin, end = like
            if (
                data.startswith(head)
                and data.endswith(self._tail)
                and data.find(b'"', begin, end) < 0
                and data.find(b"\n", begin, end) < 0
                and self._out(data)
            ):
                self.deltas += 1
                return True
        # On a busy machine several come in one read.
        *parts, rest = data.split(self._tail) if self._alike else [data]
        if parts and not rest and all(map(self._is_alike, parts)) and self._out(data):
            self.deltas += len(parts)
            return True
        return self._went_searched(data)

    def _went_searched(self, data: bytes) -> bool:
        """Passes on a read that was parted and searched for marks; learns what such are like."""
        chunks = whole_chunks(data)
        if self._held is not None or self._rest or self._gap != b"\n\n" or self.fault is not None:
            return False
        if not chunks or not all(map(self._is_words, chunks)):
            return False
        if self._swaps or self._drops_role is not None:
            data = b"".join([b"%x\r\n%b\r\n" % (len(c), c) for c in self._swapped(chunks)])
        elif self._tail and len(self._alike) < MOST_LENGTHS:
            for chunk in chunks:
                size = b"%x\r\n" % len(chunk)
                head, length = size + self._frame[0], len(size) + len(chunk) + 2
                self._alike[length] = (head, len(head), length - len(self._tail))
        if not self._out(data):
            return False
        self.deltas += len(chunks)
        return True

    def _is_alike(self, part: bytes) -> bool:
        """Is it, but for its end, like an earlier read of its length?"""
        like = self._alike.get(len(part) + len(self._tail))
        return (
            like is not None
            and part.startswith(like[0])
            and part.find(b'"', like[1]) < 0
            and part.find(b"\n", like[1]) < 0
        )

    def _is_words(self, chunk: bytes) -> bool:
        """Is it one event that tells nothing but words? Its frame is remembered."""
        before, behind = self._frame
        if chunk.startswith(before) and chunk.endswith(behind):
            words = chunk[len(before) : len(chunk) - len(behind)]
            if b'"' not in words and b"\n" not in words:
                return True
        # Several, or one in another form, are told apart by those who look into them.
        if chunk.count(b"\n\n") != 1 or not chunk.startswith((b"data: ", b"event: ")):
            return False
        if any(mark in chunk for mark in _MARKS):
            return False
        if found := _WORDS.search(chunk):
            self._frame = chunk[: found.start(1)], chunk[found.end(1) :]
            self._tail = self._frame[1] + b"\r\n"
            self._alike.clear()
        return True

    def close(self) -> bytes:
        """What is still to be passed on at the end of the stream; it may be found to be cut."""
        if not self.is_whole and not self.finish:
            # A stream that just ends is a success to openai-python, openai-node and LangChain.
            self.fault = Verdict(FailureKind.CUT, "it ended without its end mark")
            return b""
        was_marked, self.is_whole = self.is_whole, True
        return b"" if was_marked or self._form in ("responses", "messages") else DONE

    def _released(self, passed: list[bytes], gap: bytes) -> bytes:
        """What goes out: nothing before the first words or the end, and under one id."""
        if self._held is not None:
            self._held += passed
            if not (self.has_begun or self.finish or self.is_whole):
                return b""
            own = self._own_head()
            self._drops_role = own.drops_role
            self._swaps = tuple(
                (theirs[0], ours)
                for name, value in own.fields.items()
                if (theirs := self._head.get(name)) is not None
                and (ours := theirs[1] + json.dumps(value).encode()) != theirs[0]
            )
            passed, self._held = self._held, None
        return b"".join([part for block in self._swapped(passed) for part in (block, gap)])

    def _swapped(self, blocks: list[bytes]) -> list[bytes]:
        """Events with the head of chunks that were sent before the host's."""
        for theirs, ours in self._swaps:
            blocks = [block.replace(theirs, ours, 1) for block in blocks]
        return blocks if self._drops_role is None else [*map(self._with_one_role, blocks)]

    def _with_one_role(self, block: bytes) -> bytes:
        if self._drops_role:
            return _ROLE.sub(b"", block, count=1)
        self._drops_role = _ROLE.search(block) is not None
        return block

    def _look(self, block: bytes) -> bytes:
        """The block as it is passed on; empty keeps it back."""
        # Quotes inside a JSON string are escaped, so none of these can be part of an answer's text.
        is_named = bool(self.model)
        if not is_named or b'"error"' in block or block.startswith(b"event: error"):
            self._look_into_first(block)
            if not self.model:
                return b""
        # An answer may say that word alone, and it counts as any other.
        if is_named and self.has_begun:
            self.deltas += 1
        elif is_named:
            self._look_for_words(_payload(block))
        if self._form in ("responses", "messages"):
            self._look_for_end(block)
            return block
        if b'"finish_reason":"' in block or b'"finish_reason": "' in block:
            choice = object_of(first_of(_payload(block).get("choices")))
            self.finish = text_of(choice.get("finish_reason")) or self.finish
        # An answer may speak of the mark: only a line that is nothing else is one.
        if b"[DONE]" in block and block.removeprefix(b"data:").strip() == b"[DONE]":
            self.is_whole = True
        elif b'"usage"' in block and is_object(usage := (told := _payload(block)).get("usage")):
            self.usage = _usage(usage)
            # A chunk of its own, behind all words; in others it may be told again and again.
            if not told.get("choices"):
                return self._with_more(block, told) if self._wants_usage else b""
        return block

    def _with_more(self, block: bytes, told: dict[str, object]) -> bytes:
        more = self._beside_usage(self.usage, told)
        is_one_line = block.startswith(b"data:") and b"\n" not in block
        if not more or not is_one_line:
            return block
        return b"data: %b" % extended_json(block[len(b"data:") :], told, more)

    def _look_into_first(self, block: bytes) -> None:
        """The first event's model and id; an error's own words, wherever it comes."""
        payload = _payload(block)
        # LM Studio ends a broken answer by `event: error`; in a body of status 200 it is the same.
        is_error = payload.get("type") == "error" or payload.get("error")
        if is_error or block.startswith(b"event: error"):
            verdict = classify_event(payload, is_local=True)
            raise WireFault(verdict or Verdict(FailureKind.CUT, "it reported an error"))
        if self.model or not payload:
            return
        head = object_of(payload.get("response") or payload.get("message") or payload)
        self.model = text_of(head.get("model"))
        if not self.model:
            raise garbage("its first event names no model")
        if self._accepted and self.model not in self._accepted:
            raise WireFault(Verdict(FailureKind.WRONG_MODEL, self.model))
        for name, pattern in _HEAD.items():
            if found := pattern.search(block):
                self._head[name] = found
        self._look_for_words(payload)

    def _look_for_words(self, payload: dict[str, object]) -> None:
        match self._form:
            case "responses":
                self.has_begun = text_of(payload.get("type")).endswith(".delta")
            case "messages":
                self.has_begun = payload.get("type") == "content_block_delta"
            case "text":
                self.has_begun = bool(object_of(first_of(payload.get("choices"))).get("text"))
            case "chat":
                delta = object_of(object_of(first_of(payload.get("choices"))).get("delta"))
                self.has_begun = any(value for name, value in delta.items() if name != "role")
        self.deltas += self.has_begun

    def _look_for_end(self, block: bytes) -> None:
        if b'"usage":{' in block or b'"usage": {' in block:
            payload = _payload(block)
            whole = object_of(payload.get("response") or payload.get("message") or payload)
            told = _usage(object_of(whole.get("usage")))
            # Anthropic's wire tells what was read at the start and what was written at the end.
            read = told.prompt_tokens or self.usage.prompt_tokens
            self.usage = Usage(
                prompt_tokens=read,
                completion_tokens=told.completion_tokens,
                cached_tokens=told.cached_tokens or self.usage.cached_tokens,
                reasoning_tokens=told.reasoning_tokens,
            )
        tight = block.replace(b'"type": "', b'"type":"')
        if b'"type":"response.failed"' in tight:
            raise WireFault(Verdict(FailureKind.CUT, "it reported a failed answer"))
        if any(end in tight for end in _ENDS):
            self.is_whole = True
            self.finish = "length" if _ENDS[1] in tight else self.finish or "stop"


def whole_answer(body: bytes | bytearray) -> tuple[dict[str, object], Usage]:
    """The fields of a whole answer, and the usage that it names.

    Raises:
        WireFault: it is no JSON object.
    """
    try:
        value = from_json(body)
    except (ValueError, RecursionError) as err:
        raise garbage("its answer is no JSON") from err
    if not is_object(value):
        raise garbage("its answer is no JSON object")
    if verdict := classify_event(value, is_local=True):
        raise WireFault(verdict)
    return value, _usage(object_of(value.get("usage")))


def _payload(block: bytes) -> dict[str, object]:
    """The JSON of an event's data lines; empty where there is none."""
    lines = [line[5:].strip() for line in block.splitlines() if line.startswith(b"data:")]
    try:
        value: object = json.loads(b"\n".join(lines)) if lines else {}
    except (ValueError, RecursionError):
        return {}
    return object_of(value)


def _usage(told: dict[str, object]) -> Usage:
    """Both names of either wire: ``prompt_tokens`` and ``input_tokens``."""
    read = object_of(told.get("prompt_tokens_details") or told.get("input_tokens_details"))
    wrote = object_of(told.get("completion_tokens_details") or told.get("output_tokens_details"))
    return Usage(
        prompt_tokens=count_of(told.get("prompt_tokens") or told.get("input_tokens")),
        completion_tokens=count_of(told.get("completion_tokens") or told.get("output_tokens")),
        cached_tokens=count_of(read.get("cached_tokens") or told.get("cache_read_input_tokens")),
        reasoning_tokens=count_of(wrote.get("reasoning_tokens")),
    )
