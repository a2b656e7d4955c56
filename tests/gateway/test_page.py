"""The dashboard in a real browser: live, by keyboard, on a phone, and when Lantern goes away."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.app import utcnow
from bot.domain.cloud import Price, PriceStep
from bot.domain.errors import FailureKind
from bot.domain.hosts import Wish
from bot.domain.ids import HostName, ModelKey
from bot.fleet.scheduler import Scheduler
from bot.gateway import doors, events
from bot.gateway.server import GatewayRules, gateway
from bot.gateway.sinks import LIFE
from bot.sim.journal import LoadFinished, PredictionCancelled, PredictionStarted, Unloaded
from bot.sim.models import GB, SimModel
from bot.store.keys import KeyStore
from tests.gateway.gate import LOOPBACK, Gate, chat, gate
from tests.helpers.house import GEMMA, GUARD_S, QWEN, cloud, sim

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
BROWSER = os.environ.get("LANTERN_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed here"),
]

TABS = ("overview", "models", "usage", "keys", "play", "connect")
BIG = SimModel("qwen/qwen3-30b-a3b-2507", 18 * GB)


# Without slots: the driver notes something on whoever listens.
@dataclass
class Seen:
    """A page, and what it complained of or asked elsewhere."""

    page: Any
    base: str
    complaints: list[str] = field(default_factory=list[str])
    foreign: list[str] = field(default_factory=list[str])

    def hear(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def look_at(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.foreign.append(request.url)

    async def settled(self) -> None:
        await self.page.get_by_text("live", exact=True).wait_for()

    def is_clean(self) -> bool:
        return not self.complaints and not self.foreign


@asynccontextmanager
async def browser_at(base: str, width: int = 1440, height: int = 900) -> AsyncGenerator[Seen]:
    # Here, since importing it takes long, also where these tests are left out. Typed as anything:
    # the package is there only where a browser is.
    playwright: Any = pytest.importorskip(
        "playwright.async_api", reason="the page's tests need the group `browser`"
    )
    async with playwright.async_playwright() as driver:
        # Without a sandbox: containers have no user namespaces to make one of.
        browser = await driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        try:
            page = await browser.new_page(viewport={"width": width, "height": height})
            # Its own are 30 s, which a page that shares two cores with others may need.
            page.set_default_timeout(GUARD_S * 1000)
            seen = Seen(page, base)
            page.on("console", seen.hear)
            page.on("pageerror", lambda error: seen.complaints.append(str(error)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]  # as above
            page.on("request", seen.look_at)
            await page.goto(base)
            yield seen
        finally:
            await browser.close()


@asynccontextmanager
async def asked(it: Gate, model: str, tokens: int) -> AsyncGenerator[asyncio.Task[object]]:
    """A streamed request under way while the block runs."""
    body = chat(model, "Tell me of lanterns.", max_tokens=tokens, stream=True)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(it.ask("/v1/chat/completions", body))
        yield asking
        asking.cancel()


@pytest.mark.parametrize("width", [1440, 390])
async def test_every_part_stands_without_complaint_and_without_scrolling_sideways(
    tmp_path: Path, width: int
) -> None:
    async with gate(
        tmp_path,
        sim("one", QWEN),
        sim("two", GEMMA, BIG),
        providers=cloud(zai="openai"),
        # So dear that a few words here save more than a cent.
        provider_changes={"price": Price((PriceStep(input=10**10, output=10**10),))},
    ) as it:
        await it.ask("/v1/chat/completions", chat(QWEN.key, max_tokens=4, stream=True))
        async with browser_at(it.base, width) as seen:
            await seen.settled()
            # What was answered before anybody looked is drawn as well.
            wrote = re.compile(r"Tokens written: .*, [1-9].* at most")
            await seen.page.get_by_role("img", name=wrote).wait_for()
            waited = re.compile(r"Wait for the first token: [\d.]+ s last")
            await seen.page.get_by_role("img", name=waited).wait_for()
            told = await seen.page.get_by_role("img", name=waited).get_attribute("aria-label")
            cells = seen.page.get_by_role("region", name="Recent requests").locator("td.num")
            # Not the host's own time alone: its asker waited for the load as well.
            wait = re.findall(r"[\d.]+", str(told))[0]
            assert f"{wait} s" in await cells.all_text_contents()
            # Waited for: on a quick machine the page opens in the very second of the answer.
            quiet = re.compile(r"hosts\s+0\s+under way\s+0\s+tok/s")
            await seen.page.locator(".live").filter(has_text=quiet).wait_for()
            for tab in TABS:
                await seen.page.evaluate(f"location.hash = '{tab}'")
                await seen.page.locator(f"nav a[href='#{tab}'][aria-current]").wait_for()
                wide = await seen.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, tab
                if tab == "usage":
                    saved = (await it.ask("/admin/usage", method="GET")).json["savedUsd"]
                    told = await seen.page.get_by_text("answering here saved").inner_text()
                    assert f"${saved:.2f} at zai's price" in told
            unnamed = await seen.page.evaluate(
                "[...document.querySelectorAll('button,input,select,textarea')].filter(e =>"
                "!(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length"
            )
            assert unnamed == 0
            assert (seen.complaints, seen.foreign) == ([], [])


async def test_a_load_moves_and_the_answer_streams_in_the_playground(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", BIG), pace=LIFE) as it, browser_at(it.base) as seen:
        page, faults = seen.page, it.house.hosts["one"].faults
        faults.stall_load(at=0.4)
        await seen.settled()
        await page.get_by_role("link", name="Playground").click()
        await page.get_by_label("Model or persona").select_option(BIG.key)
        await page.get_by_label("Message").fill("Why does a lantern glow?")
        await page.keyboard.press("Enter")
        bar = page.get_by_role("progressbar", name="Loading the model")
        await bar.wait_for()
        await page.wait_for_function(
            "Number(document.querySelector('[role=progressbar]')?.ariaValueNow) === 40"
        )
        faults.clear("stall_load")
        await page.get_by_text("to first token").wait_for()
        await page.locator(".said.model", has_text="simulated answer").wait_for()
        assert seen.is_clean()


async def test_a_chat_in_the_playground_outlives_a_look_at_another_page(tmp_path: Path) -> None:
    # It was lost, and its host wrote on to the end.
    async with gate(tmp_path, sim("one", QWEN), pace=LIFE) as it, browser_at(it.base) as seen:
        page, one = seen.page, it.house.hosts["one"]
        await one.preload(QWEN.key)
        one.faults.stall_after_tokens(3)
        await seen.settled()
        await page.get_by_role("link", name="Playground").click()
        await page.get_by_label("Message").fill("[[say one two three four five]]")
        await page.keyboard.press("Enter")
        await page.locator(".said.model", has_text="three").wait_for()
        await page.get_by_label("Message").fill("and then")
        await page.get_by_role("link", name="Overview").click()
        await page.get_by_label("Recent requests").wait_for()
        await page.get_by_role("link", name="Playground").click()
        await page.locator(".said.model", has_text="three").wait_for()
        assert await page.get_by_label("Message").input_value() == "and then"
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_text("Stopped.").wait_for()
        await one.journal.wait_for(PredictionCancelled)
        assert seen.is_clean()


async def test_a_persona_is_tried_in_the_playground(tmp_path: Path) -> None:
    sage = {"sage": f"model: {QWEN.key}\nsystem_prompt: You are calm."}
    async with (
        gate(tmp_path, sim("one", QWEN), personas=sage, pace=LIFE) as it,
        browser_at(it.base) as seen,
    ):
        await seen.settled()
        await seen.page.get_by_role("link", name="Playground").click()
        await seen.page.get_by_label("Model or persona").select_option("sage")
        await seen.page.get_by_label("Message").fill("Why does a lantern glow?")
        await seen.page.keyboard.press("Enter")
        await seen.page.get_by_text("to first token").wait_for()
        asked = await it.house.hosts["one"].journal.wait_for(PredictionStarted)
        assert asked.messages[0].text == "You are calm."
        assert seen.is_clean()


@pytest.mark.parametrize("width", [1440, 390])
async def test_a_failed_load_is_told_in_two_lines_and_can_be_dismissed(
    tmp_path: Path, width: int
) -> None:
    async with (
        gate(tmp_path, sim("one", BIG), sim("two", QWEN)) as it,
        browser_at(it.base, width) as seen,
    ):
        it.house.hosts["two"].faults.stall_after_tokens(2)
        reason = "Model loading was stopped due to insufficient system resources. " * 9
        it.house.hosts["one"].faults.fail_next_load(reason, times=None)
        await seen.settled()
        async with asked(it, QWEN.key, 5000), asked(it, BIG.key, 9):
            told = seen.page.locator(".toast")
            # Of one host and one try: the request may go on.
            await told.get_by_text(f"A load of {BIG.key} on one failed: ").wait_for()
            box = await told.bounding_box()
            line = "parseFloat(getComputedStyle(document.querySelector('.toast')).lineHeight)"
            assert box["height"] < 3 * await seen.page.evaluate(line)
            # It lay over the Cancel of what was under way for nine seconds.
            await told.get_by_role("button", name="Dismiss").click()
            await told.wait_for(state="detached")
            await seen.page.get_by_role("button", name="Cancel request").first.click()
            await seen.page.get_by_text("Nobody is asking just now.").wait_for()
            await seen.page.evaluate("location.hash = 'models'")
            stands = seen.page.locator("td.stands .tag").get_by_text("failed to load it")
            assert len(await stands.inner_text()) <= 72
            wide = await seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width


async def test_on_a_phone_nothing_is_cut_without_a_sign(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, parallel=1)) as it, browser_at(it.base, 390) as seen:
        it.house.hosts["one"].faults.stall_after_tokens(2)
        await seen.settled()
        async with asked(it, QWEN.key, 5000), asked(it, QWEN.key, 5000):
            place = seen.page.locator(".tag").get_by_text("place 1")
            await place.wait_for()
            height = "n => n.offsetHeight / parseFloat(getComputedStyle(n).fontSize)"
            assert await place.evaluate(height) < 2, "it broke within its pill"
        tabs = await seen.page.locator("nav.tabs a").all()
        tops = {(await tab.bounding_box())["y"] for tab in tabs}
        assert len(tops) == 1, "the parts took four rows"
        for tab in ("usage", "keys"):
            await seen.page.evaluate(f"location.hash = '{tab}'")
            await seen.page.locator(f"nav a[href='#{tab}'][aria-current]").wait_for()
            for table in await seen.page.locator(".scroll").all():
                shade = "n => getComputedStyle(n).backgroundAttachment"
                assert await table.evaluate(shade) == "local, local, scroll, scroll"
        await seen.page.evaluate("location.hash = 'connect'")
        pairs = seen.page.locator("dl.pairs > *")
        await pairs.first.wait_for()
        base, url, key, words = [await pair.bounding_box() for pair in await pairs.all()]
        assert base["y"] + base["height"] <= key["y"]
        assert url["x"] == words["x"]
        assert seen.is_clean()


async def test_what_a_provider_writes_is_marked_while_it_is_written(tmp_path: Path) -> None:
    async with (
        gate(tmp_path, sim("one", QWEN), providers=cloud(zai="zai")) as it,
        browser_at(it.base) as seen,
    ):
        await it.house.hosts["one"].stop()
        await it.house.lantern.fleet.host(HostName("one")).probe()
        it.house.doubles["zai"].faults.set("stall", after_tokens=2)
        await seen.settled()
        async with asked(it, QWEN.key, 50):
            under_way = seen.page.get_by_role("region", name="Requests under way")
            await under_way.locator("td").get_by_text("☁ zai", exact=True).wait_for()


async def test_on_a_phone_long_names_are_three_lines_and_rows_of_one_model_tell_apart(
    tmp_path: Path,
) -> None:
    long = SimModel(f"some-very-long-publisher/{'an-extraordinarily-long-name-' * 4}q4", GB)
    async with gate(tmp_path, sim("one", long, parallel=1)) as it, browser_at(it.base, 390) as seen:
        await it.ask("/v1/chat/completions", chat(long.key, max_tokens=4))
        it.house.hosts["one"].faults.stall_after_tokens(2)
        await seen.settled()
        async with asked(it, long.key, 5000), asked(it, long.key, 5000):
            under_way = seen.page.get_by_role("region", name="Requests under way")
            told = under_way.locator(".narrow")
            await told.get_by_text("loopback · one · ").nth(1).wait_for()
            for tab in ("overview", "models", "usage"):
                await seen.page.evaluate(f"location.hash = '{tab}'")
                await seen.page.locator(f"nav a[href='#{tab}'][aria-current]").wait_for()
                keys = seen.page.locator("td .key")
                await keys.first.wait_for()
                for key in await keys.all():
                    assert await key.get_attribute("title") == long.key
                    box = await key.bounding_box()
                    # In one line two sizes of a model read alike.
                    assert box["height"] < 70, tab
                    # Cut, and with room for what comes first in a name.
                    assert 90 < box["width"] < 300, tab
                wide = await seen.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= 390, tab
        assert seen.is_clean()


async def test_a_request_appears_and_is_cancelled(tmp_path: Path) -> None:
    slow = sim("one", QWEN, time_scale=1.0, load_bytes_per_s=1e12, tokens_per_s=5.0)
    async with gate(tmp_path, slow) as it, browser_at(it.base) as seen:
        await seen.settled()
        async with asked(it, QWEN.key, 5000):
            cancel = seen.page.get_by_role("button", name="Cancel request")
            await cancel.wait_for()
            # On a busy machine it was cancelled before it was asked, and told no load.
            await it.house.hosts["one"].journal.wait_for(PredictionStarted)
            await cancel.click()
            await seen.page.get_by_text("Nobody is asking just now.").wait_for()
            # With its row the focus went to the page as a whole.
            assert await seen.page.evaluate("document.activeElement.id") == "under-way"
        recent = seen.page.get_by_role("region", name="Recent requests")
        await recent.get_by_text("cancelled").wait_for()
        await recent.get_by_role("button", name="Why request").click()
        await recent.locator(".why").get_by_text("one", exact=True).wait_for()
        # As of an answer that was whole: of what was ended it told no load.
        await recent.locator(".why").get_by_text(re.compile(r"load [\d.]+ s")).wait_for()
        assert seen.is_clean()


async def test_a_request_that_waits_for_a_load_is_cancelled_on_a_phone(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", BIG)) as it, browser_at(it.base, 390) as seen:
        it.house.hosts["one"].faults.stall_load(at=0.4)
        await seen.settled()
        async with asked(it, BIG.key, 9):
            await seen.page.get_by_text("loading 40 %", exact=False).first.wait_for()
            await seen.page.evaluate("location.hash = 'models'")
            await seen.page.get_by_text("loading 40 % on one").wait_for()
            assert await seen.page.get_by_role("button", name=f"Load {BIG.key}").is_disabled()
            await seen.page.evaluate("location.hash = 'overview'")
            cancel = seen.page.get_by_role("button", name="Cancel request")
            box = await cancel.bounding_box()
            # Behind the panel's edge nobody on a phone found it.
            assert box["x"] + box["width"] <= 390 - 12
            await cancel.click()
            await seen.page.get_by_text("Nobody is asking just now.").wait_for()
        assert seen.is_clean()


async def test_what_is_clicked_is_done_at_the_host_and_shown(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, browser_at(it.base) as seen:
        page, one = seen.page, it.house.hosts["one"]

        async def click(name: str) -> None:
            await page.get_by_role("button", name=name, exact=True).click()

        await seen.settled()
        await page.evaluate("location.hash = 'models'")
        await click(f"Load {QWEN.key}")
        loaded = await one.journal.wait_for(LoadFinished)
        await click(f"Activate {QWEN.key}")
        await page.locator(f"button[aria-label='Activate {QWEN.key}']:disabled").wait_for()
        active = (await it.ask("/admin/status", method="GET")).json["active"]
        assert active == {"modelKey": QWEN.key, "defaultInference": {}, "loaded": True}
        await page.evaluate("location.hash = 'overview'")
        unload = page.get_by_role("button", name=f"Unload {loaded.identifier} from one")
        await unload.click()
        # Asked twice, by the same button.
        await unload.get_by_text("Really?").wait_for()
        assert one.journal.of(Unloaded) == []
        await unload.click()
        assert (await one.journal.wait_for(Unloaded)).reason == "asked"
        await unload.wait_for(state="detached")
        await click("Drain one")
        await page.get_by_role("button", name="Resume one").wait_for()
        refused = await it.ask("/v1/chat/completions", chat(QWEN.key))
        assert (refused.status, refused.error["code"]) == (503, "no_host")
        await click("Resume one")
        await page.get_by_role("button", name="Drain one").wait_for()
        one.faults.stall_after_tokens(3)
        await page.evaluate("location.hash = 'play'")
        await page.get_by_label("Model or persona").select_option(QWEN.key)
        await page.get_by_label("Message").fill("[[tokens 9]]")
        await page.keyboard.press("Enter")
        await page.locator(".said.model").get_by_text(re.compile(r"\w")).first.wait_for()
        await one.journal.wait_for(PredictionStarted)
        await click("Stop")
        assert (await one.journal.wait_for(PredictionCancelled)).tokens <= 3
        await page.get_by_text("Stopped.").wait_for()
        assert seen.is_clean()


async def test_a_key_is_asked_for_and_kept_for_the_tab(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        weak = await it.key("weak", "inference")
        strong = await it.key("strong", "admin", "inference")
        async with browser_at(it.base) as seen:
            entry, door = (
                seen.page.get_by_label("Key"),
                seen.page.get_by_role("button", name="Open"),
            )
            await entry.fill(weak.removeprefix("Bearer "))
            await door.click()
            await seen.page.get_by_text("That key has no scope").wait_for()
            await entry.fill(strong.removeprefix("Bearer "))
            await door.click()
            await seen.settled()
            await seen.page.reload()
            await seen.settled()
            await seen.page.get_by_role("link", name="Keys").click()
            await seen.page.get_by_role("cell", name="strong", exact=True).wait_for()
            shown = await seen.page.content()
            assert strong.removeprefix("Bearer ") not in shown
            # A refused key is a 401 that the browser writes down by itself.
            assert [x for x in seen.complaints if "401" not in x and "403" not in x] == []


async def test_a_key_that_is_over_is_told_from_a_good_one(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        boss, now_ms = await it.key("boss", "admin"), it.house.lantern.database.now_ms()
        await it.key("late", expires_at_ms=now_ms - 1)
        await it.key("good", expires_at_ms=now_ms + 3_600_000)
        async with browser_at(it.base) as seen:
            await seen.page.get_by_label("Key").fill(boss.removeprefix("Bearer "))
            await seen.page.get_by_role("button", name="Open").click()
            await seen.settled()
            await seen.page.get_by_role("link", name="Keys").click()
            ends = {
                name: seen.page.get_by_role("row", name=name).locator("td").nth(2)
                for name in ("late", "good", "boss")
            }
            minute = r"\d{4}-\d\d-\d\d \d\d:\d\d"
            # Ended and ending today had the same date, and nothing else.
            assert re.fullmatch(f"over since {minute}", await ends["late"].inner_text())
            assert re.fullmatch(minute, await ends["good"].inner_text())
            assert await ends["boss"].inner_text() == "never"


async def test_a_page_whose_key_ended_says_so_and_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "KEYS_S", 0.0)
    monkeypatch.setattr(events, "LOOK_S", 0.05)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        strong = {name: await it.key(name, "admin") for name in ("old", "new")}
        async with browser_at(it.base) as seen:
            entry = seen.page.get_by_label("Key")
            door = seen.page.get_by_role("button", name="Open")
            await entry.fill(strong["old"].removeprefix("Bearer "))
            await door.click()
            await seen.settled()
            assert await KeyStore(it.house.lantern.database).revoke("old")
            # Nothing happens in the fleet and nobody presses anything: the line itself ends.
            await seen.page.get_by_role("alert").get_by_text("That key was refused").wait_for()
            assert await seen.page.get_by_role("article", name="Host one").count() == 0
            await entry.fill(strong["new"].removeprefix("Bearer "))
            await door.click()
            await seen.settled()
            await seen.page.get_by_role("article", name="Host one").wait_for()
            # The one of a first visit without a key: told by the event it knocked no second time.
            [refused] = seen.complaints
            assert "401" in refused


async def test_a_host_that_goes_away_shows(tmp_path: Path) -> None:
    async with (
        gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it,
        browser_at(it.base) as seen,
    ):
        await seen.settled()
        host = seen.page.get_by_role("article", name="Host two")
        await host.get_by_text("up", exact=True).wait_for()
        await it.house.hosts["two"].stop()
        await it.house.lantern.fleet.probe_all()
        await host.get_by_text("away", exact=True).wait_for()
        assert seen.is_clean()


async def test_a_host_that_tells_nothing_over_its_work_is_not_shown_as_well(tmp_path: Path) -> None:
    async with (
        gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it,
        browser_at(it.base) as seen,
    ):
        await seen.settled()
        two = it.house.lantern.fleet.host(HostName("two"))
        async with two.lease(Wish(ModelKey(GEMMA.key))) as lease:
            async for _ in lease:
                pass
            since = asyncio.get_running_loop().time() - 60.0
            two.feed(Scheduler.on_probe_failed, "no answer within 5 s", FailureKind.TIMEOUT, since)
            host = seen.page.get_by_role("article", name="Host two")
            await host.get_by_text("up, silent for").wait_for()
            await host.get_by_text("no answer within 5 s").wait_for()
            await seen.page.get_by_text("1/2 hosts").wait_for()
            assert await host.locator(".dot.up").count() == 0
            hosts = (await it.ask("/admin/status", method="GET")).json["hosts"]
            assert isinstance(hosts, dict)
            assert (hosts["up"], hosts["silent"]) == (2, 1)
            assert (
                'lantern_host_up{host="two"} 0.0'
                in (await it.ask("/metrics", method="GET")).body.decode()
            )
        assert seen.is_clean()


async def test_the_page_goes_on_after_lantern_was_restarted(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        built = it.house.lantern
        rules = GatewayRules(doors=LOOPBACK, port=0)
        async with gateway(built, rules, utcnow) as base:
            port = int(base.rpartition(":")[2])
            again = GatewayRules(doors=LOOPBACK, port=port)
            browsing = browser_at(base)
            seen = await browsing.__aenter__()
            await seen.settled()
        try:
            await seen.page.get_by_text("Lantern does not answer").wait_for()
            async with gateway(built, again, utcnow):
                await seen.settled()
                await seen.page.get_by_role("article", name="Host one").wait_for()
        finally:
            await browsing.__aexit__(None, None, None)


async def test_hostile_names_are_text(tmp_path: Path) -> None:
    evil = SimModel("evil/<img src=x onerror=alert(1)>", 1 * GB)
    async with gate(tmp_path, sim("one", evil)) as it, browser_at(it.base) as seen:
        await seen.settled()
        await seen.page.get_by_role("link", name="Models").click()
        await seen.page.get_by_text("evil/<img src=x onerror=alert(1)>").wait_for()
        assert await seen.page.locator("img[src=x]").count() == 0
        assert seen.is_clean()
