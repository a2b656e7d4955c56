"""The settings and how they came to be: as plain values for rooms, as lines for people.

Nobody but the root and the commands is given a ``Loaded``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from bot.documents.yaml import Path as KeyPath
from bot.documents.yaml import Plain, dotted
from bot.domain.chat import Extras
from bot.domain.cloud import ProviderConfig
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.budget import BudgetRules
from bot.policy.dialects import dialect_for, sees
from bot.policy.pricing import flat_price
from bot.process.redaction import Redactor
from bot.settings.tree import Settings
from bot.settings.values import DATABASE_PREFIX

PERSONAS_NAME = "personas"

MICRO_PER_USD = 1_000_000

BYTES_PER_GB = 1_000_000_000
"""As sizes are shown, by Lantern and by LM Studio."""

_UNTOLD_FIELDS = ("token", "api_key")
"""Secrets, and what is refused: an editor should offer neither."""


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
        # With the file in /etc and no personas there, those of the working directory still count.
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
            *(each.api_key for p in settings.providers.values() for each in p.deployments),
        )
        return tuple(secret.get_secret_value() for secret in held if secret is not None)

    @property
    def provider_configs(self) -> tuple[ProviderConfig, ...]:
        """The providers that are on, as the cloud room takes them; each deployment is one."""
        configs: list[ProviderConfig] = []
        for name, provider in self.settings.providers.items():
            price = provider.price
            shared = ProviderConfig(
                name=ProviderName(name),
                base_url=provider.base_url,
                model=ModelKey(provider.model),
                wire=provider.kind,
                timeout_s=provider.timeout,
                idle_s=provider.idle,
                whole_s=provider.whole,
                thinking=provider.thinking,
                max_tokens=provider.max_tokens,
                temperature=provider.temperature,
                retries=provider.retries,
                max_wait_s=self.settings.routing.max_cloud_wait,
                extras=Extras(provider.extra_headers, provider.extra_query, provider.extra_body),
                rate_count=provider.rate_limit.count,
                rate_period_s=provider.rate_limit.period_s,
                max_concurrent=provider.max_concurrent,
                quality=provider.quality,
                # USD become micro-dollars; both are for a million tokens.
                price=None
                if price is None
                else flat_price(
                    round(price.input * MICRO_PER_USD),
                    round(price.output * MICRO_PER_USD),
                    _micro(price.cached),
                ),
                context_length=provider.context_length,
                vision=sees(provider.model) if provider.vision is None else provider.vision,
            )
            # A known provider whose key is set nowhere is no provider.
            configs += (
                replace(
                    shared,
                    base_url=base_url,
                    api_key=None if key is None else key.get_secret_value(),
                    # An address may be of another maker's server for the same model.
                    dialect=dialect_for(name, base_url, provider.model),
                    deployment=number,
                    weight=weight,
                )
                for number, key, base_url, weight in provider.asked()
            )
        return tuple(configs)

    @property
    def budget_rules(self) -> BudgetRules:
        """The limits of days and months, in micro-dollars."""
        budget = self.settings.budget
        return BudgetRules(
            daily_micro_usd=_micro(budget.daily_usd),
            per_server_micro_usd=_micro(budget.per_guild_usd),
            per_user_micro_usd=_micro(budget.per_user_usd),
            alert_at=budget.alert_at,
            monthly_micro_usd=_micro(budget.monthly_usd),
            by_provider={
                ProviderName(name): (_micro(provider.daily_usd), _micro(provider.monthly_usd))
                for name, provider in self.settings.providers.items()
            },
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
                max_waiting=self.settings.routing.max_waiting,
                wake_mac=host.wake_mac,
            )
            for host in self.settings.hosts
        )


DISCORD_MISSING = (
    "DISCORD_TOKEN is not set; put the bot's token in the environment, .env or, under systemd, a "
    "credential; `lantern serve` and `lantern chat` need none"
)


HOSTS_MISSING = (
    "no hosts are configured; set LANTERN_HOSTS=address:port,… or `hosts:` in config.yaml"
)


def missing_for_run(loaded: Loaded) -> tuple[str, ...]:
    """What ``run`` needs and nobody has set, in words."""
    settings = loaded.settings
    missing: list[str] = []
    if settings.discord.token is None:
        missing.append(DISCORD_MISSING)
    if not settings.hosts and not any(provider.is_on for provider in settings.providers.values()):
        missing.append(HOSTS_MISSING)
    return tuple(missing)


def missing_for_hosts(loaded: Loaded) -> tuple[str, ...]:
    """The same for ``serve``, ``chat`` and whatever else asks hosts."""
    return () if loaded.settings.hosts else (HOSTS_MISSING,)


def masked(loaded: Loaded) -> list[dict[str, str]]:
    """Every ``value`` with its dotted ``key`` and ``origin``; secrets are masked."""
    # Masked fields are not enough: the same secret may stand in a base_url or a model's name.
    redactor = Redactor(loaded.secrets)
    return [
        {"key": (key := dotted(path)), "value": redactor.text(text), "origin": loaded.origins[key]}
        for path, text, _ in leaves(loaded.settings)
    ]


def schema() -> dict[str, Any]:
    """The JSON Schema of ``config.yaml``, for editors."""
    # Secrets stand in variables; an editor that offered `token:` would lead people to write one.
    found = Settings.model_json_schema()
    for model in (found, *cast(dict[str, dict[str, Any]], found["$defs"]).values()):
        for name in _UNTOLD_FIELDS:
            model.get("properties", {}).pop(name, None)
        # Presets, or the address for a host's name, fill in what the file leaves out.
        model.pop("required", None)
    found["properties"]["hosts"]["items"] = {
        "anyOf": [{"type": "string"}, found["properties"]["hosts"]["items"]]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def leaves(settings: Settings) -> Iterator[tuple[KeyPath, str, bool]]:
    """Every single value, lists of plain values counting as one, in the tree's order.

    Yields:
        Its path, its text with secrets masked, and whether anybody said it: otherwise it is the
        key's default.
    """
    # In pydantic's JSON mode secrets are masked, durations and rates written as people do.
    dump = cast(Plain, settings.model_dump(mode="json"))
    for path, value in _walk(dump, ()):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        here: object = settings
        is_set = True
        for part in path:
            if isinstance(here, BaseModel):
                is_set = is_set and part in here.model_fields_set
                here = getattr(here, str(part))
            elif isinstance(here, Mapping):
                here = cast(Mapping[str, object], here)[str(part)]
            else:
                here = cast(Sequence[object], here)[int(part)]
        yield path, text, is_set


def _walk(value: Plain, path: KeyPath) -> Iterator[tuple[KeyPath, Plain]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for at, item in enumerate(value):
            yield from _walk(item, (*path, at))
    else:
        yield path, value


def _micro(usd: float | None) -> int | None:
    return None if usd is None else round(usd * MICRO_PER_USD)
