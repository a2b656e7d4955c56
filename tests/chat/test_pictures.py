"""A picture for a model that cannot see: the words are answered, and who can see is offered."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from house import ADA, BOB, GEMMA, PLACE, QWEN, House, Said, cloud, house, sim

from bot.chat.choices import Resolved
from bot.chat.planning import Asking, ChatRules, Planner
from bot.domain.chat import Attachment, Message, TurnRequest
from bot.domain.errors import RequestRefused
from bot.domain.events import Failed, Finished, Offered
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Instance, Model
from bot.domain.ids import HostName, InstanceId, ModelKey, PersonaName
from bot.domain.personas import Persona
from bot.policy.access import Rights
from bot.policy.offers import SlowRules
from bot.policy.privacy import Consent, LocalOnly
from bot.sim.journal import LoadStarted, PredictionStarted
from bot.sim.models import GB, SimModel
from bot.store.turns import IMAGE_BYTES

EYE = SimModel("see/er", 3 * GB, kind="vlm", vision=True)
PICTURE = Attachment("cat.png", "image/png", image=b"\x89PNG")
SEES = {"vision": True}


async def shown(home: House, **more: object) -> Said:
    request = home.request("what is this?", model=QWEN.key, attachments=[PICTURE])
    return await home.play(replace(request, **more))


async def see(home: House, said: Said) -> Said:
    """Presses the button."""
    again = home.request("", parent=said.turn, kind="retry")
    return await home.play(replace(again, must_see=True))


async def test_a_host_that_can_see_is_offered_before_any_provider_and_answers_when_taken(
    tmp_path: Path,
) -> None:
    providers, hosts = cloud(openai="openai"), [sim("studio", QWEN), sim("laptop", EYE)]
    async with house(tmp_path, *hosts, providers=providers, provider_changes=SEES) as home:
        said = await shown(home)
        assert isinstance(said.last, Finished)
        assert said.receipt.model == QWEN.key
        assert said.notices == (
            "`qwen/qwen3-8b` cannot see pictures, so your words alone were answered; "
            "`see/er` on laptop can see them."
        )
        assert said.receipt.seer is not None
        assert not home.hosts["laptop"].journal.of(LoadStarted)
        again = await see(home, said)
        assert (again.receipt.model, again.receipt.seer) == (EYE.key, None)
        assert again.receipt.choice_reason.endswith(
            "; model whichever sees the picture the soonest"
        )
        (sent,) = home.hosts["laptop"].journal.of(PredictionStarted)
        assert "image" in str(sent.messages[-1])
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert stored.receipt == said.receipt


async def test_who_can_see_answers_when_taken_also_for_a_persona_of_a_model_that_cannot(
    tmp_path: Path,
) -> None:
    personas = {"blind": f"model: {QWEN.key}\nalternatives: []\n"}
    async with house(tmp_path, sim("s", QWEN), sim("l", EYE), personas=personas) as home:
        said = await home.play(home.request("and?", persona="blind", attachments=[PICTURE]))
        again = await see(home, said)
        assert (said.receipt.model, again.receipt.model) == (QWEN.key, EYE.key)


async def test_a_provider_is_offered_with_its_price_and_asked_only_when_taken(
    tmp_path: Path,
) -> None:
    providers = cloud(openai="openai")
    async with house(
        tmp_path, sim("studio", QWEN), providers=providers, provider_changes=SEES
    ) as home:
        said = await shown(home)
        assert said.receipt.host == "studio"
        assert "☁ openai can see them, about " in said.notices
        again = await see(home, said)
        assert again.receipt.provider == "openai"


async def test_private_pictures_are_offered_to_nobody_abroad(tmp_path: Path) -> None:
    providers = cloud(openai="openai")
    async with house(
        tmp_path, sim("studio", QWEN), providers=providers, provider_changes=SEES
    ) as home:
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        said = await shown(home)
        assert "no model here can see them" in said.notices
        assert said.receipt.seer is None
        assert isinstance((await see(home, said)).last, Failed)


async def test_where_nobody_can_see_the_words_are_answered(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        said = await shown(home)
        assert isinstance(said.last, Finished)
        assert "no model here can see them" in said.notices


async def test_pictures_that_are_never_sent_take_no_room_from_the_words(tmp_path: Path) -> None:
    # Eight were "unable to see images" of all instead of an answer, and a second copy was loaded or
    # what had been said left out for them where the model read a little more.
    small = replace(QWEN, max_context_length=4096)
    async with house(tmp_path, sim("studio", small, GEMMA)) as home:
        first = await home.play(home.request("remember this", model=QWEN.key))
        request = home.request(
            "what are these?", model=QWEN.key, attachments=[PICTURE] * 8, parent=first.turn
        )
        said = await home.play(request)
        assert isinstance(said.last, Finished)
        await home.play(home.request("and now?", model=QWEN.key, parent=said.turn))
        for sent in home.hosts["studio"].journal.of(PredictionStarted):
            assert "remember this" in str(sent.messages)
        assert len(home.hosts["studio"].journal.of(LoadStarted)) == 1


async def test_a_picture_goes_to_whom_the_owner_put_first(tmp_path: Path) -> None:
    rules = ChatRules(PersonaName("default"), strategy="prefer_cloud")
    async with house(
        tmp_path,
        sim("studio", QWEN),
        rules=rules,
        providers=cloud(openai="openai"),
        provider_changes=SEES,
    ) as home:
        assert (await shown(home)).receipt.provider == "openai"


async def test_an_alternative_that_sees_answers_by_itself(tmp_path: Path) -> None:
    personas = {"wide": f"model: {QWEN.key}\nalternatives: [{EYE.key}]\n"}
    async with house(tmp_path, sim("studio", QWEN, EYE), personas=personas) as home:
        request = home.request("what is this?", persona="wide", attachments=[PICTURE])
        said = await home.play(request)
        assert (said.receipt.model, said.receipt.seer, said.notices) == (EYE.key, None, "")


async def test_with_the_picture_waits_for_who_sees_it_and_offers_nobody_blind_meanwhile(
    tmp_path: Path,
) -> None:
    rules = ChatRules(PersonaName("default"), slow=SlowRules(after_s=0.5))
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", EYE), rules=rules) as home:
        again = await see(home, await shown(home))
        assert not [event for event in again.events if isinstance(event, Offered)]
        assert (again.receipt.model, again.notices) == (EYE.key, "")


async def nothing() -> None:
    """Prices are not asked for."""


async def anybody(_: Sequence[Message]) -> Consent:
    return LocalOnly("nobody asks here")


ABLE, BLIND = ModelKey("able"), ModelKey("blind")


@pytest.mark.parametrize(
    ("models", "has_picture", "asked", "warm"),
    [
        ((ABLE, BLIND), True, {ABLE}, None),
        ((ABLE, BLIND), False, {ABLE, BLIND}, BLIND),
        # Its words alone are answered, and may be by whoever is quick.
        ((ModelKey("slow"),), True, {ModelKey("slow")}, BLIND),
    ],
)
def test_only_who_sees_a_picture_may_take_it_over_from_one_who_does(
    models: tuple[ModelKey, ...], has_picture: bool, asked: set[ModelKey], warm: ModelKey | None
) -> None:
    kinds = (Model(ABLE, vision=True), Model(BLIND), Model(ModelKey("slow")))
    there = HostSnapshot(
        HostName("studio"),
        "studio:1",
        "up",
        models={kind.key: kind for kind in kinds},
        instances=(Instance(InstanceId("blind"), BLIND),),
    )
    planner = Planner(
        lambda: FleetSnapshot({there.name: there}, 0.0),
        ChatRules(PersonaName("sage"), slow=SlowRules(after_s=0.0)),
        lambda prompt, answer, now, room: (),
        nothing,
    )
    first, *others = models
    persona = Persona(PersonaName("sage"), alternatives=tuple(others))
    pictures = (PICTURE,) if has_picture else ()
    job = planner.job(
        Asking(
            resolved=Resolved(persona, "by default", first, "by default", False),
            branch=(),
            request=TurnRequest(ADA, "Ada", PLACE, "what is this?", attachments=pictures),
            consent=LocalOnly("nobody asks here"),
            judge=anybody,
            payer=ADA,
        )
    )
    assert job.replan is not None
    assert {candidate.model for candidate in job.replan().candidates} == asked
    cold = [candidate for candidate in job.route.candidates if candidate.model != BLIND]
    ways = planner.ways(replace(job, route=replace(job.route, candidates=tuple(cold))))
    assert (ways and ways.warm and ways.warm.model) == warm


async def test_a_picture_too_large_to_keep_is_asked_for_again(tmp_path: Path) -> None:
    large = replace(PICTURE, image=b"\x89PNG" + bytes(IMAGE_BYTES))
    async with house(tmp_path, sim("studio", QWEN, EYE)) as home:
        said = await shown(home, attachments=(large,))
        last = (await see(home, said)).last
        assert isinstance(last, Failed)
        assert isinstance(last.error, RequestRefused)
        assert "attach it again" in last.error.user_message


async def test_earlier_pictures_are_left_out_with_one_word(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, EYE)) as home:
        await shown(home, model=EYE.key)
        notices = [(await home.ask("and now?", model=QWEN.key)).notices for _ in range(3)]
        assert notices == ["`qwen/qwen3-8b` cannot see; earlier pictures were left out.", "", ""]


# --- other words that are said once ---------------------------------------------------------


@pytest.mark.parametrize("has_cloud", [True, False])
async def test_that_earlier_words_keep_a_turn_here_is_said_once(
    tmp_path: Path, has_cloud: bool
) -> None:
    providers = cloud(openai="openai") if has_cloud else {}
    async with house(tmp_path, sim("studio", QWEN), providers=providers) as home:
        await home.lantern.privacy.mark("user", BOB, local_only=True)
        # Who marked the words knows it.
        assert (await home.ask("mine", user=BOB)).notices == ""
        said = [await home.ask("and?") for _ in range(3)]
        words = (
            "🔒 These words stay on the LAN (the author of an earlier message keeps their words "
            "here; `/reset` begins afresh without it)."
        )
        assert [turn.notices for turn in said] == [words if has_cloud else "", "", ""]
        await home.lantern.turns.store.reset(PLACE.conversation)
        assert (await home.ask("and?")).notices == ""


async def test_where_nobody_can_answer_what_keeps_the_words_here_is_said_once(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(openai="openai")) as home:
        await home.lantern.privacy.mark("user", BOB, local_only=True)
        await home.ask("mine", user=BOB)
        await home.hosts["studio"].stop()

        said = [await home.ask("and?") for _ in range(2)]
        said += [await home.ask("and?", model="cloud:openai")]
        # What is asked again in place of an answer has no small print of its own.
        again = home.request("", model="cloud:openai", kind="retry", parent=said[0].turn)
        said += [await home.play(again)]
        failures = [each.last.error for each in said if isinstance(each.last, Failed)]
        in_words = ["stay on the LAN" in failure.user_message for failure in failures]
        in_print = [bool(each.notices) for each in said]
        assert (in_words, in_print) == ([False, True, False, True], [True, False, True, True])


async def test_whoever_chose_a_provider_reads_why_it_was_not_asked_and_the_way_out(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(openai="openai")) as home:
        await home.lantern.privacy.mark("user", BOB, local_only=True)
        await home.ask("mine", user=BOB)
        words = (
            "🔒 ☁ openai was not asked (the author of an earlier message keeps their words here; "
            "`/reset` begins afresh without it)."
        )
        said = [await home.ask("and?", model="cloud:openai") for _ in range(2)]
        assert [turn.notices for turn in said] == [words, words]
        # Chosen for longer it is said once, as the rest of it is.
        await home.lantern.turns.store.reset(PLACE.conversation)
        assert (await home.ask("and?", model="cloud:openai")).receipt.provider == "openai"
        switch = home.lantern.switch
        await switch.set_model(PLACE, ADA, "me", "openai", rights=Rights())
        await home.ask("mine", user=BOB)
        assert [bool((await home.ask("and?")).notices) for _ in range(2)] == [True, False]
        await home.hosts["studio"].stop()
        last = (await home.ask("and?")).last
        assert isinstance(last, Failed)
        assert "`/reset` begins afresh without it" in last.error.user_message


async def test_an_answer_without_a_word_is_asked_for_once_more_and_loads_nobody_else(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        said = await home.ask("[[tokens 0]]")
        assert isinstance(said.last, Failed)
        assert "without a word. It was asked twice" in said.last.error.user_message
        loads = [home.hosts[name].journal.of(LoadStarted) for name in ("studio", "laptop")]
        asked = [home.hosts[name].journal.of(PredictionStarted) for name in ("studio", "laptop")]
        assert sorted(map(len, loads)) == [0, 1]
        assert sorted(map(len, asked)) == [0, 2]
