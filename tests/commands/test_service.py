"""The frame of ``run`` and ``serve``."""

import asyncio
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from bot.commands.service import until_stopped
from bot.process.supervisor import Supervisor
from bot.settings import load_settings


async def test_what_check_would_warn_of_a_service_logs_before_it_serves(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("log: {level: debug}")
    loaded = load_settings(None, {"lantern_hosts": "a"}, tmp_path)
    assert len(loaded.warnings) == 2
    before: list[str] = []

    async def play(_: Supervisor, asked: asyncio.Event) -> None:
        before.extend(str(line["warning"]) for line in logs if line["log_level"] == "warning")
        assert not asked.is_set()

    with capture_logs() as logs:
        assert await until_stopped(loaded, {}, play) == 0
    assert tuple(before) == loaded.warnings
    assert logs[-1]["event"] == "stopped"


async def test_a_set_up_without_doubts_warns_of_nothing(tmp_path: Path) -> None:
    async def play(_supervisor: Supervisor, _asked: asyncio.Event) -> None:
        return

    loaded = replace(load_settings(None, {}, tmp_path), warnings=())
    with capture_logs() as logs:
        assert await until_stopped(loaded, {}, play) == 0
    assert [line["event"] for line in logs] == ["stopped"]
