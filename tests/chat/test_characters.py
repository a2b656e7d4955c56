"""A persona with a character, from its greeting to what a host is sent."""

from dataclasses import replace
from pathlib import Path

from house import BOB, QWEN, House, house, sim

from bot.domain.events import Failed, Finished
from bot.domain.ids import TurnId
from bot.policy.context import GREET_TEXT
from bot.sim.journal import PredictionStarted

SERA = """\
model: qwen/qwen3-8b
greeting: You wake, {{user}}.
character:
  description: "{{char}} guards the glade."
  post_history: Two paragraphs.
  greetings: ["It rains on {{user}}."]
  book: {entries: [{keys: [wolf], content: Wolves fear her.}]}
"""
PLAIN = "model: qwen/qwen3-8b\ngreeting: Ask me.\n"
BOTH = {"You wake, ada.", "It rains on ada."}


def sent(home: House) -> list[tuple[str, str]]:
    """What a host was sent last."""
    last = home.hosts["studio"].journal.of(PredictionStarted)[-1]
    return [(message.role, message.text) for message in last.messages]


async def test_a_greeting_is_a_turn_that_no_model_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas={"sera": SERA}) as home:
        said = await home.ask(GREET_TEXT, persona="sera")
        assert isinstance(said.last, Finished)
        assert said.text in BOTH
        assert (said.receipt.model, said.receipt.persona) == (None, "sera")
        assert home.hosts["studio"].journal.of(PredictionStarted) == []
        # Another one in its place, and the first again.
        other = await home.play(home.request("", parent=said.turn, kind="retry"))
        assert {said.text, other.text} == BOTH
        asked = home.request(GREET_TEXT, persona="sera")
        chosen = [await home.play(replace(asked, greeting=nth)) for nth in (1, 2, 1, 1, 2, 2)]
        rain, wake = sorted(BOTH)
        assert [one.text for one in chosen] == [wake, rain, wake, wake, rain, rain]
        again = await home.play(home.request("", user=BOB, parent=other.turn, kind="retry"))
        assert again.text == said.text  # its asker is greeted, whoever pressed
        # The talk goes on from the one that is replied to.
        await home.ask("A wolf!", persona="sera", parent=other.turn)
        system, opening, greeting, question = sent(home)
        assert system[0] == "system"
        assert "sera guards the glade." in system[1]
        assert "Wolves fear her." in system[1]
        assert (opening, greeting) == (("user", GREET_TEXT), ("assistant", other.text))
        assert question[1].startswith("A wolf!\n\n[Instructions")


async def test_a_character_greets_in_its_prompt_though_nobody_was_greeted(tmp_path: Path) -> None:
    async with house(
        tmp_path, sim("studio", QWEN), personas={"sera": SERA, "plain": PLAIN}
    ) as home:
        first = await home.ask("Hello", persona="sera")
        assert [text for _, text in sent(home)][1:3] == [GREET_TEXT, "You wake, ada."]
        assert "Wolves" not in sent(home)[0][1]
        await home.ask("And?", persona="sera", parent=first.turn)
        assert [text for _, text in sent(home)][1:3] == [GREET_TEXT, "You wake, ada."]
        await home.ask("Hello", persona="plain")
        assert [role for role, _ in sent(home)] == ["user"]
        greeted = await home.ask(GREET_TEXT, persona="plain", parent=None)
        assert greeted.text == "Ask me."


async def test_who_greets_no_more_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas={"mute": "model: auto\n"}) as home:
        said = await home.ask(GREET_TEXT, persona="mute")
        assert isinstance(said.last, Failed)
        assert "mute has no greeting" in said.last.error.user_message
        stored = await home.lantern.turns.store.get(TurnId(said.last.turn or ""))
        assert stored is not None
        assert stored.status == "failed"
        # And it is no part of what follows.
        await home.ask("Hello", persona="mute")
        assert sent(home) == [("user", "Hello")]
