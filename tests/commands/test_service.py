"""The frame of ``run`` and ``serve``."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot.app import Plan
from bot.commands.serve import serve
from bot.commands.service import until_stopped
from bot.domain.errors import ConfigError
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


async def test_serve_takes_a_key_that_was_changed_as_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was given nothing to read again, so that there a wrong key lasted until a restart.
    keys = ["old-key-of-zai", "new-key-of-zai"]
    old, new = (load_settings(None, {"Z_AI_API_KEY": key}, tmp_path) for key in keys)
    plans: list[Plan] = []

    def planned(plan: Plan) -> None:
        plans.append(plan)
        raise ConfigError(("far enough",))

    monkeypatch.setattr("bot.commands.serve.lantern", planned)
    with pytest.raises(ConfigError, match="far enough"):
        await serve(old, {}, lambda: new)
    (plan,) = plans
    assert plan.reread is not None
    hidden: list[str] = []
    monkeypatch.setattr("bot.app.hide_also", hidden.extend)
    assert [[c.api_key for c in configs] for configs in (plan.providers, plan.reread())] == [
        keys[:1],
        keys[1:],
    ]
    # A refusal that says the key is logged, and only the old one was known to the log.
    assert hidden == keys[1:]


async def test_a_set_up_without_doubts_warns_of_nothing(tmp_path: Path) -> None:
    async def play(_supervisor: Supervisor, _asked: asyncio.Event) -> None:
        return

    loaded = replace(load_settings(None, {}, tmp_path), warnings=())
    with capture_logs() as logs:
        assert await until_stopped(loaded, {}, play) == 0
    assert [line["event"] for line in logs] == ["stopped"]
