"""What the root is given: the settings, where each stands, and plain values made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.domain.cloud import Price, ProviderConfig
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.budget import BudgetRules
from bot.policy.pricing import flat_price
from bot.policy.wires import dialect_for
from bot.settings.tree import PriceSettings, ProviderSettings, Settings
from bot.settings.values import DATABASE_PREFIX

PERSONAS_NAME = "personas"

MICRO_PER_USD = 1_000_000

BYTES_PER_GB = 1_000_000_000
"""As sizes are shown, by Lantern and by LM Studio."""


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
    def provider_configs(self) -> tuple[ProviderConfig, ...]:
        """The providers that are on, as the cloud room takes them."""
        return tuple(
            _provider_config(name, provider)
            for name, provider in self.settings.providers.items()
            if provider.is_on
        )

    @property
    def budget_rules(self) -> BudgetRules:
        """The limits of a day, in micro-dollars."""
        budget = self.settings.budget
        return BudgetRules(
            daily_micro_usd=_micro(budget.daily_usd),
            per_server_micro_usd=_micro(budget.per_guild_usd),
            per_user_micro_usd=_micro(budget.per_user_usd),
            alert_at=budget.alert_at,
        )

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


def _provider_config(name: str, provider: ProviderSettings) -> ProviderConfig:
    return ProviderConfig(
        name=ProviderName(name),
        base_url=provider.base_url,
        model=ModelKey(provider.model),
        wire=provider.kind,
        dialect=dialect_for(name, provider.base_url),
        api_key=provider.api_key.get_secret_value() if provider.api_key else None,
        timeout_s=provider.timeout,
        retries=provider.retries,
        rate_count=provider.rate_limit.count,
        rate_period_s=provider.rate_limit.per_s,
        max_concurrent=provider.max_concurrent,
        quality=provider.quality,
        price=_price(provider.price),
        context_length=provider.context_length,
        vision=provider.vision,
    )


def _price(price: PriceSettings | None) -> Price | None:
    """USD per million tokens, as micro-dollars per million tokens."""
    if price is None:
        return None
    cached = None if price.cached is None else round(price.cached * MICRO_PER_USD)
    return flat_price(
        round(price.input * MICRO_PER_USD), round(price.output * MICRO_PER_USD), cached
    )


def _micro(usd: float | None) -> int | None:
    return None if usd is None else round(usd * MICRO_PER_USD)
