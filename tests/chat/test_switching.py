"""Choosing a model, a provider or a persona: what is refused, who answers, and the way back."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from house import ADA, BOB, GEMMA, PLACE, QWEN, House, Said, cloud, house, sim

from bot.chat.planning import ChatRules
from bot.chat.standing import instead_words
from bot.chat.switch import TOO_LATE, UNDONE, beside_words, model_words
from bot.chat.walk import Readiness
from bot.chat.words import readiness_text, why_text
from bot.domain.chat import Place
from bot.domain.errors import NotPermitted, RequestRefused, StoreUnavailable, UnknownName
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, PersonaName, PlaceId, ProviderName, UserId
from bot.policy.access import EVERY_RIGHT, Rights
from bot.policy.choice import Scope
from bot.policy.personas import Editor
from bot.sim.journal import LoadStarted
from cogs._autocomplete import answering_choices

ELSEWHERE = replace(PLACE, channel=PlaceId("discord:2"))
THREAD = replace(PLACE, thread=PlaceId("discord:3"))
MODELS = {"default": f"model: {QWEN.key}\n"}


async def choose(
    home: House, name: str, scope: Scope = "me", *, at: Place = PLACE, ticket: str = ""
) -> str:
    switch = home.lantern.switch
    return await switch.set_model(at, ADA, scope, name, rights=EVERY_RIGHT, ticket=ticket)


async def warmed(home: House, name: str) -> Readiness:
    async with home.lantern.switch.warm(PLACE, ADA, model=name) as steps:
        return [step async for step in steps if isinstance(step, Readiness)][-1]


async def offered(
    home: House, *, at: Place = PLACE, user: UserId = ADA, persona: str | None = None
) -> list[str]:
    options = await home.lantern.switch.options(at, user, persona=persona)
    return [option.name for option in options]


def asked(home: House, name: str = "zai") -> int:
    return len(home.doubles[name].journal.chats())


# --- a provider that was chosen ----------------------------------------------------------------


@pytest.mark.parametrize("typed", ["zai", "☁ zai", "cloud:zai", "glm-4.6"])
async def test_a_chosen_provider_answers_though_a_host_could(tmp_path: Path, typed: str) -> None:
    providers = cloud(zai="zai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers, personas=MODELS) as home:
        value = await choose(home, typed)
        assert value == "cloud:zai"
        ready = await warmed(home, value)
        assert readiness_text(ready) == "✅ ☁ zai answers from now on."
        assert asked(home) == 0
        said = await home.ask("[[say From afar.]]")
        assert (said.text, said.receipt.provider) == ("From afar.", "zai")
        # It was wanted so: no reason is owed, and `/why` says by whom.
        assert instead_words(said.receipt) == ""
        turn = await home.lantern.turns.store.last_in(PLACE.conversation)
        assert turn is not None
        assert "☁ zai chosen by you here" in why_text(turn)
        other = await home.ask("mine", user=BOB)
        assert other.receipt.host == "studio"


async def test_what_answers_here_tells_the_provider_why_and_the_way_back(tmp_path: Path) -> None:
    providers = cloud(zai="zai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers, personas=MODELS) as home:
        await choose(home, "zai", "channel")
        said = await home.lantern.switch.explain(PLACE, ADA)
        assert model_words(said) == (
            f"☁ zai chosen for this channel; after it `{QWEN.key}`, default's own model"
        )
        assert said.way_back == "`/model auto`, for all `/model auto scope:channel`"
        assert [c.where for c in said.route.candidates] == ["zai", "studio"]
        await choose(home, "auto", "channel")
        back = await home.lantern.switch.explain(PLACE, ADA)
        assert (back.provider, back.route.candidates[0].where) == (None, "studio")


async def test_a_chosen_provider_that_is_out_is_followed_by_the_hosts_and_it_is_said(
    tmp_path: Path,
) -> None:
    providers = cloud(zai="zai", openai="openai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers, personas=MODELS) as home:
        await choose(home, "zai")
        home.doubles["zai"].faults.set("no_money")
        first = await home.ask("one")
        assert instead_words(first.receipt) == "☁ zai is not available; studio answered."
        # Out now, so not asked again; still said, for it is still what was chosen.
        second = await home.ask("two")
        assert instead_words(second.receipt) == "☁ zai is not available; studio answered."
        assert (asked(home), asked(home, "openai")) == (1, 0)
        ready = await warmed(home, "cloud:zai")
        assert f"⚠ Until ☁ zai can be asked, `{QWEN.key}` on studio answers" in readiness_text(
            ready
        )


async def test_a_host_lost_during_a_choice_s_load_is_not_said_to_have_left_a_question_unanswered(
    tmp_path: Path,
) -> None:
    providers = cloud(zai="zai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers, personas=MODELS) as home:
        studio = home.hosts["studio"]
        studio.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            chosen = tasks.create_task(warmed(home, QWEN.key))
            await studio.journal.wait_for(LoadStarted)
            await studio.stop()
        said = readiness_text(chosen.result())
        assert said.startswith(f"⚠ Until `{QWEN.key}` can be loaded, ☁ zai answers here: studio ")
        assert asked(home) == 0


async def test_a_provider_for_one_turn_alone(tmp_path: Path) -> None:
    providers = cloud(zai="zai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers, personas=MODELS) as home:
        once = await home.ask("one", model="☁ zai")
        after = await home.ask("two")
        assert (once.receipt.provider, after.receipt.host) == ("zai", "studio")
        assert "asked for this turn" in once.receipt.choice_reason


async def test_a_provider_out_of_the_order_of_fallbacks_can_be_chosen(tmp_path: Path) -> None:
    providers = cloud(zai="zai", openai="openai")
    rules = ChatRules(
        PersonaName("default"),
        cloud=(ProviderName("zai"),),
        providers=frozenset(map(ProviderName, providers)),
    )
    async with house(
        tmp_path, sim("studio", QWEN), providers=providers, rules=rules, personas=MODELS
    ) as home:
        assert (await offered(home))[-2:] == ["☁ zai", "☁ openai"]
        await choose(home, "openai")
        assert (await home.ask("one")).receipt.provider == "openai"


# --- where no words may leave ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("personas", "marked", "words"),
    [
        ({"default": "local_only: true\n"}, None, "persona default is local only; choose another"),
        ({"default": "cloud: []\n"}, None, "persona default never uses the cloud"),
        ({"default": "cloud: [openai]\n"}, None, "persona default asks only openai"),
        ({}, ("user", ADA), "you keep your own words local only; `/settings local_only:off`"),
        ({}, ("place", PLACE.channel), "this channel is local only"),
        ({}, ("place", PLACE.server), "this server is local only"),
    ],
)
async def test_a_provider_is_refused_where_no_words_may_leave_and_says_what_opens_it(
    tmp_path: Path, personas: dict[str, str], marked: Any, words: str
) -> None:
    providers = cloud(zai="zai", openai="openai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers, personas=personas) as home:
        if marked is not None:
            await home.lantern.privacy.mark(*marked)
        with pytest.raises(NotPermitted, match="☁ zai cannot be asked here: " + words):
            await choose(home, "zai")
        with pytest.raises(NotPermitted, match=words):
            await home.lantern.switch.check_model(PLACE, ADA, "glm-4.6")
        assert "☁ zai" not in await offered(home)
        assert (await home.ask("hello")).receipt.host == "studio"
        assert await choose(home, QWEN.key) == QWEN.key


@pytest.mark.parametrize(
    ("presser", "words"),
    [
        (ADA, "you keep your own words local only; `/settings local_only:off`"),
        (
            BOB,
            "the author of this message keeps their words here; only they can open what they say "
            "from then on, by `/settings local_only:off`",
        ),
    ],
)
async def test_an_answer_is_asked_again_of_a_provider_where_its_own_words_may_leave(
    tmp_path: Path, presser: UserId, words: str
) -> None:
    personas = {"default": "", "diary": "local_only: true\n"}
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), personas=personas
    ) as home:
        switch, privacy, store = (
            home.lantern.switch,
            home.lantern.privacy,
            home.lantern.turns.store,
        )

        async def again(said: Said, **more: Any) -> None:
            turn = await store.get(said.turn)
            assert turn is not None
            await switch.check_model(PLACE, presser, "zai", again=turn, **more)

        open_, diary = await home.ask("hello"), await home.ask("dear", persona="diary")
        await again(open_)
        # By whom it was answered, whoever answers the next.
        with pytest.raises(NotPermitted, match="persona diary is local only"):
            await again(diary)
        with pytest.raises(NotPermitted, match="earlier message was for persona diary, which"):
            await again(diary, persona=PersonaName("default"))
        await privacy.mark("user", ADA)
        with pytest.raises(NotPermitted, match=words):
            await again(open_)
        private = await home.ask("secret")
        after = await home.ask("and?", user=BOB, parent=private.turn)
        await privacy.mark("user", ADA, local_only=False)
        await again(open_)
        # Said in private they stay so, and what goes on from them too.
        for said in (private, after):
            with pytest.raises(NotPermitted, match="an earlier message was said in private"):
                await again(said)


async def test_for_many_counts_what_holds_for_all_of_them(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        # Her own wish to keep her words here is no reason against a channel's choice.
        await home.lantern.privacy.mark("user", ADA)
        assert await choose(home, "zai", "channel") == "cloud:zai"
        assert (await home.ask("his", user=BOB)).receipt.provider == "zai"
        assert (await home.ask("mine")).receipt.host == "studio"
        # One channel's mark is none against the server's, and a server's counts in all.
        await home.lantern.privacy.mark("place", str(PLACE.channel))
        assert await choose(home, "zai", "server") == "cloud:zai"
        await home.lantern.privacy.mark("place", str(PLACE.server))
        with pytest.raises(NotPermitted, match="this server is local only"):
            await choose(home, "zai", "server")


async def test_a_threads_own_mark_and_its_channels_count_in_it(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.lantern.privacy.mark("place", str(THREAD.thread))
        with pytest.raises(NotPermitted, match="this thread is local only"):
            await choose(home, "zai", "channel", at=THREAD)
        assert await choose(home, "zai", "channel") == "cloud:zai"
        await home.lantern.privacy.mark("place", str(THREAD.thread), local_only=False)
        await home.lantern.privacy.mark("place", str(PLACE.channel))
        with pytest.raises(NotPermitted, match="this channel is local only"):
            await choose(home, "zai", "channel", at=THREAD)


async def test_a_chosen_provider_hears_nothing_once_the_place_is_closed(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await choose(home, "zai")
        await home.lantern.privacy.mark("place", str(PLACE.channel))
        said = await home.ask("secret")
        assert (said.receipt.host, asked(home)) == ("studio", 0)
        # It was never meant to leave: that is no news to the readers of the channel.
        assert instead_words(said.receipt) == ""


# --- what is offered while somebody types -------------------------------------------------------


async def test_what_answers_here_is_marked_and_providers_stand_last(tmp_path: Path) -> None:
    providers = cloud(zai="zai")
    async with house(
        tmp_path, sim("studio", QWEN, GEMMA), providers=providers, personas=MODELS
    ) as home:
        assert await offered(home) == ["auto", f"● {QWEN.key}", GEMMA.key, "☁ zai"]
        await choose(home, GEMMA.key)
        assert (await offered(home))[1] == f"● {GEMMA.key}"
        assert (await offered(home, user=BOB))[1] == f"● {QWEN.key}"
        await choose(home, "zai")
        assert (await offered(home))[1] == "● ☁ zai"
        await choose(home, "auto")
        assert (await offered(home))[1] == f"● {QWEN.key}"
        options = await home.lantern.switch.options(PLACE, ADA, "zai")
        assert [option.mark for option in options] == ["glm-4.6 · about 0.12 ¢ an answer"]


async def test_a_persona_said_for_one_turn_decides_what_is_offered_for_it(tmp_path: Path) -> None:
    personas = {**MODELS, "diary": f"model: {GEMMA.key}\nlocal_only: true\n"}
    async with house(
        tmp_path, sim("studio", QWEN, GEMMA), providers=cloud(zai="zai"), personas=personas
    ) as home:
        found = await offered(home, persona="diary")
        assert found == ["auto", f"● {GEMMA.key}", QWEN.key]
        # Not typed to its end yet, or mistyped: models alone.
        assert "☁ zai" not in await offered(home, persona="dia?")


async def test_personas_are_offered_with_how_their_models_stand_and_who_answers_now_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = MODELS | {"any": "model: auto\n", "sage": f"model: {GEMMA.key}\n"}
    async with house(tmp_path, sim("studio", QWEN, GEMMA), personas=who) as home:
        switch = home.lantern.switch
        await home.ask("hello")
        await switch.set_persona(PLACE, ADA, "me", "sage", rights=EVERY_RIGHT)

        async def names(user: UserId = ADA, limit: int = 25) -> list[str]:
            found = answering_choices(await switch.personas(PLACE, user, "", limit))
            return [choice.name for choice in found]

        # As `/model` says it of their models; nothing of whoever takes any.
        first, *others = await names()
        assert first.startswith("● sage · cold · ~")
        assert others == ["any", "default · warm · studio"]
        assert (await names(BOB))[0] == "● default · warm · studio"
        assert (await names(limit=1))[0].startswith("● sage")

        async def broken(_: object) -> None:
            raise StoreUnavailable("disk full")

        monkeypatch.setattr(home.lantern.database, "read", broken)
        assert (await names())[:2] == ["any", "default · warm · studio"]


async def test_a_store_that_cannot_be_read_leaves_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:

        async def broken(_: object) -> None:
            raise StoreUnavailable("disk full")

        monkeypatch.setattr(home.lantern.database, "read", broken)
        assert await offered(home) == ["auto", QWEN.key]


# --- a persona after a model --------------------------------------------------------------------


async def test_a_persona_chosen_after_a_model_says_which_answers(tmp_path: Path) -> None:
    personas = {**MODELS, "scout": f"model: {GEMMA.key}\n"}
    async with house(
        tmp_path, sim("studio", QWEN, GEMMA), providers=cloud(zai="zai"), personas=personas
    ) as home:
        switch = home.lantern.switch

        async def beside(*, at: Place = PLACE, scope: Scope = "me") -> str:
            scout = await switch.set_persona(at, ADA, scope, "scout", rights=EVERY_RIGHT)
            return beside_words(await switch.explain(at, ADA), scout)

        assert await beside() == ""
        await choose(home, QWEN.key)
        assert await beside() == (
            f"It answers with `{QWEN.key}`, chosen by you here; `/model auto` goes back to "
            f"scout's own `{GEMMA.key}`."
        )
        assert (await home.ask("hello")).receipt.model == QWEN.key
        await choose(home, "zai")
        assert await beside() == (
            "☁ zai chosen by you here, so it answers first; `/model auto` goes back."
        )
        await choose(home, "auto")
        assert await beside() == ""
        assert (await home.ask("hello")).receipt.model == GEMMA.key
        # For all it is chosen, and for herself another still wins.
        await switch.set_persona(PLACE, ADA, "me", "default", rights=EVERY_RIGHT)
        assert await beside(scope="channel") == (
            "For you here **default** still answers: chosen by you here."
        )
        await choose(home, QWEN.key, "channel", at=THREAD)
        assert "`/model auto scope:channel` goes back" in await beside(at=THREAD, scope="channel")


# --- undo ---------------------------------------------------------------------------------------


async def undo(
    home: House, ticket: str, *, by: UserId = ADA, is_admin: bool = False, at: Place = PLACE
) -> str:
    return await home.lantern.switch.undo(
        at, by, ticket, rights=EVERY_RIGHT if is_admin else Rights()
    )


async def model_here(home: House) -> str:
    return (await home.lantern.switch.explain(PLACE, ADA)).model


async def test_undo_brings_the_choice_before_back(tmp_path: Path) -> None:
    providers = cloud(zai="zai")
    async with house(
        tmp_path, sim("studio", QWEN, GEMMA), providers=providers, personas=MODELS
    ) as home:
        await choose(home, "zai", ticket="1")
        await choose(home, GEMMA.key, ticket="2")
        assert await undo(home, "2") == "↩ Undone: ☁ zai is chosen."
        assert (await home.lantern.switch.explain(PLACE, ADA)).provider == "zai"
        with pytest.raises(RequestRefused, match=UNDONE):
            await undo(home, "2")
        assert await undo(home, "1") == "↩ Undone: no model is chosen."
        assert await model_here(home) == QWEN.key


async def test_undo_never_overwrites_a_later_choice(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        await choose(home, GEMMA.key, "channel", ticket="1")
        await choose(home, QWEN.key, "channel", ticket="2")
        with pytest.raises(RequestRefused, match=f"meanwhile: `{QWEN.key}` is chosen. Nothing"):
            await undo(home, "1", is_admin=True)
        assert await model_here(home) == QWEN.key
        assert await home.lantern.switch.overtaken(["1", "2"]) == {
            "1": f"⚠ This was changed meanwhile: `{QWEN.key}` is chosen.",
            "2": "",
        }


@pytest.mark.parametrize(
    ("scope", "by", "is_admin", "is_allowed"),
    [
        ("me", ADA, False, True),
        ("me", BOB, False, False),
        ("me", BOB, True, True),
        # Who may not choose for the channel any more may not undo for it either.
        ("channel", ADA, False, False),
        ("channel", ADA, True, True),
    ],
)
async def test_only_who_chose_or_an_admin_may_undo(
    tmp_path: Path, scope: Scope, by: UserId, is_admin: bool, is_allowed: bool
) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA), personas=MODELS) as home:
        await choose(home, GEMMA.key, scope, ticket="1")
        if is_allowed:
            await undo(home, "1", by=by, is_admin=is_admin)
        else:
            with pytest.raises(NotPermitted):
                await undo(home, "1", by=by, is_admin=is_admin)
        assert await model_here(home) == (QWEN.key if is_allowed else GEMMA.key)


async def test_undo_after_a_restart_and_when_it_is_too_late(tmp_path: Path) -> None:
    sims: Sequence[Any] = (sim("studio", QWEN, GEMMA),)
    async with house(tmp_path, *sims, personas={**MODELS, "scout": ""}) as home:
        await home.lantern.switch.set_persona(
            PLACE, ADA, "me", "scout", rights=Rights(), ticket="1"
        )
    async with house(tmp_path, *sims) as home:
        assert await undo(home, "1") == "↩ Undone: no persona is chosen."
        with pytest.raises(RequestRefused, match=TOO_LATE.split(";")[0]):
            await undo(home, "0")


async def test_a_choice_of_a_provider_does_not_wait_for_hosts_that_are_off(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.hosts["studio"].stop()
        await home.lantern.fleet.host(HostName("studio")).probe()
        assert await choose(home, "glm-4.6") == "cloud:zai"
        assert (await home.ask("hello")).receipt.provider == "zai"


async def test_nobody_is_foretold_whom_earlier_words_may_not_reach(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        switch, privacy = home.lantern.switch, home.lantern.privacy
        await privacy.mark("user", ADA)
        await home.ask("my own business")
        await privacy.mark("user", ADA, local_only=False)
        await choose(home, "zai")
        told = (await switch.explain(PLACE, ADA)).route
        assert [candidate.where for candidate in told.candidates] == ["studio"]
        assert [out.where for out in told.rejected] == ["zai"]
        assert [one.value for one in await switch.options(PLACE, ADA)] == ["auto", QWEN.key]
        assert (await home.ask("and now?")).receipt.host == "studio"
        await home.lantern.turns.store.reset(PLACE.conversation)
        assert (await switch.explain(PLACE, ADA)).route.candidates[0].where == "zai"


# --- a thread opened on an answer ---------------------------------------------------------------


async def test_a_thread_opened_on_an_answer_goes_on_with_its_persona_for_everybody(
    tmp_path: Path,
) -> None:
    personas = {"sage": "system_prompt: Be calm.\n", "pirate": "system_prompt: Arr.\n"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        switch, thread = home.lantern.switch, replace(PLACE, thread=PlaceId("discord:300"))

        async def who(user: UserId, place: Place = thread) -> str:
            said = await home.ask("hi", user=user, place=place)
            explained = await switch.explain(place, user)
            assert explained.persona.name == said.receipt.persona
            assert explained.persona_reason in said.receipt.choice_reason
            return said.receipt.persona

        await switch.set_persona(PLACE, ADA, "me", "sage", rights=EVERY_RIGHT)
        answer = await home.ask("one")
        await home.lantern.replies.put("300", "1", answer.turn, 0)
        # Chosen for herself alone, and in the channel: the thread went on with another's voice.
        assert [await who(user) for user in (ADA, BOB)] == ["sage", "sage"]
        assert await who(BOB, PLACE) == "default"
        await switch.set_persona(PLACE, ADA, "channel", "pirate", rights=EVERY_RIGHT)
        assert await who(BOB) == "sage"
        await switch.set_persona(thread, BOB, "me", "pirate", rights=EVERY_RIGHT)
        assert [await who(user) for user in (ADA, BOB)] == ["sage", "pirate"]
        await switch.set_persona(thread, ADA, "thread", "default", rights=EVERY_RIGHT)
        assert [await who(user) for user in (ADA, BOB)] == ["default", "default"]


async def test_a_thread_opened_on_an_answer_keeps_to_what_its_asker_may_choose(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        thread = replace(PLACE, thread=PlaceId("discord:300"))
        acts, ada = home.lantern.personas, Editor(ADA, PLACE.server)
        made, _ = await acts.keep(acts.blank("Mine", "me", ada, None), "me", ada, PLACE)
        answer = await home.ask("one", persona=str(made.persona.name))
        await home.lantern.replies.put("300", "1", answer.turn, 0)
        said = [(await home.ask("two", user=user, place=thread)).receipt for user in (ADA, BOB)]
        assert [receipt.persona for receipt in said] == [made.persona.name, "default"]


# --- whoever is named for one question ----------------------------------------------------------


async def test_nonsense_is_refused_before_anything_is_begun_for_it(tmp_path: Path) -> None:
    # "There is no model nope here" stood in the channel, for everybody.
    async with house(tmp_path, sim("studio", QWEN), personas=MODELS) as home:
        check = home.lantern.switch.check_named
        await check(PLACE, ADA)
        await check(PLACE, ADA, persona=PersonaName("default"), model="qwen")
        with pytest.raises(UnknownName, match="nope"):
            await check(PLACE, ADA, model="nope")
        with pytest.raises(UnknownName, match="nobody"):
            await check(PLACE, ADA, persona=PersonaName("nobody"), model="qwen")


async def test_what_no_host_has_told_of_yet_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas=MODELS) as home:
        switch, snapshot = home.lantern.switch, home.lantern.fleet.snapshot()
        unseen = HostSnapshot(HostName("laptop"), "l:1")
        seen = replace(snapshot, hosts={**snapshot.hosts, unseen.name: unseen})
        monkeypatch.setattr(home.lantern.fleet, "snapshot", lambda: seen)
        await switch.check_named(PLACE, ADA, model="nope")
