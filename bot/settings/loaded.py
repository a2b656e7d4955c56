"""What the root is given: the settings, where each stands, and plain values made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName
from bot.settings.tree import Settings
from bot.settings.values import DATABASE_PREFIX

PERSONAS_NAME = "personas"

BYTES_PER_GB = 2**30
"""Machines are sold with so many bytes to the GB."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and how they came to be."""

    settings: Settings
    origins: Mapping[str, str]
    """Where each value stands, by its dotted key; what is missing here is a default."""
    config_path: Path | None
    base_dir: Path
    """Where relative files lie: beside the config file, else the working directory."""
    cwd: Path
    warnings: tuple[str, ...] = ()

    @property
    def personas_dir(self) -> Path:
        """``personas/`` beside the config file, else in the working directory."""
        beside = self.base_dir / PERSONAS_NAME
        return beside if beside.is_dir() else self.cwd / PERSONAS_NAME

    @property
    def database_path(self) -> Path:
        """The database's file."""
        return self.base_dir / self.settings.storage.url.removeprefix(DATABASE_PREFIX)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the log's redaction."""
        settings = self.settings
        held = (
            settings.discord.token,
            *(host.token for host in settings.hosts),
            *(provider.api_key for provider in settings.providers.values()),
        )
        return tuple(secret.get_secret_value() for secret in held if secret is not None)

    @property
    def host_configs(self) -> tuple[HostConfig, ...]:
        """The hosts as the fleet takes them."""
        return tuple(
            HostConfig(
                name=HostName(host.name),
                address=host.address,
                memory_bytes=None if host.memory_gb is None else int(host.memory_gb * BYTES_PER_GB),
                max_loaded=host.max_loaded,
                token=host.token.get_secret_value() if host.token else None,
                slots=self.settings.routing.max_concurrent,
                weight=host.weight,
                wake_mac=host.wake_mac,
            )
            for host in self.settings.hosts
        )


def missing_for_run(loaded: Loaded) -> tuple[str, ...]:
    """What ``run`` needs and nobody has set, in words."""
    settings = loaded.settings
    missing: list[str] = []
    if settings.discord.token is None:
        missing.append("DISCORD_TOKEN is not set; put the bot's token in the environment or .env")
    if not settings.hosts and not any(provider.is_on for provider in settings.providers.values()):
        missing.append(
            "no hosts are configured; set LANTERN_HOSTS=address:port,… or `hosts:` in config.yaml"
        )
    return tuple(missing)
