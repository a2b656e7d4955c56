"""The settings tree: every key, its default, and what it may be."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.documents.values import (
    Count,
    Gigabytes,
    Name,
    PositiveSeconds,
    Seconds,
    Section,
    Words,
    lower,
    split_list,
)
from bot.documents.yaml import Plain
from bot.policy.ratelimit import RateRule
from bot.settings.values import (
    BaseUrl,
    Bytes,
    DatabaseUrl,
    DiscordId,
    Extra,
    ExtraFields,
    HostAddress,
    LanRange,
    ListenAddress,
    MacAddress,
    Origin,
    OwnName,
    ProviderKey,
    RateLimit,
    Secret,
    TimeZone,
    VariableName,
    parse_address,
    split_hosts,
)

Origins = Annotated[tuple[Origin, ...], BeforeValidator(split_list)]
HostNames = Annotated[tuple[OwnName, ...], BeforeValidator(split_list)]
Networks = Annotated[tuple[LanRange, ...], BeforeValidator(split_list)]
DiscordIds = Annotated[tuple[DiscordId, ...], BeforeValidator(split_list)]
# More the ledger's integers cannot hold; a limit of money that is not there is null.
Usd = Annotated[float, Field(ge=0, le=1_000_000)]


class HostSettings(Section):
    """One LM Studio host."""

    name: Name = Field(description="What people call it; the address when left out")
    address: HostAddress = Field(
        description="address:port of its LM Studio server; port 1234 when left out"
    )
    memory_gb: Gigabytes | None = Field(
        default=None,
        description="Memory its models may take, in GB; within a tenth of it the host decides",
    )
    max_loaded: Count | None = Field(
        default=None, description="Models in its memory at once, at most"
    )
    token_env: VariableName | None = Field(
        default=None, description="Variable that holds its LM Studio API token"
    )
    token: Secret | None = None
    wake_mac: MacAddress | None = Field(
        default=None, description="Address of its network card, to wake it by Wake-on-LAN"
    )
    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Above 1 is preferred, below 1 is spared"
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: Plain) -> Plain:
        # A host is one line for most people, and its address is the only name it needs.
        if isinstance(value, str):
            value = {"address": value}
        if not isinstance(value, dict) or value.get("name") is not None:
            return value
        try:
            name = parse_address(value.get("address"))
        except ValueError:
            name = "unnamed"  # the address has its own fault
        return {**value, "name": name}


class PriceSettings(Section):
    """What a provider's model costs, in USD per million tokens; all 0 is free."""

    input: Usd = Field(description="USD per million prompt tokens")
    output: Usd = Field(description="USD per million tokens of the answer")
    cached: Usd | None = Field(
        default=None, description="USD per million prompt tokens it had cached; else as input"
    )


class DeploymentSettings(Section):
    """One key or address of a provider."""

    api_key_env: VariableName | None = Field(
        default=None, description="Variable that holds its API key; the provider's when left out"
    )
    api_key: Secret | None = None
    base_url: BaseUrl | None = Field(
        default=None, description="Its address; the provider's when left out"
    )
    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Its share of the questions among those that are free"
    )


class ProviderSettings(Section):
    """One cloud provider."""

    kind: Annotated[Literal["openai", "anthropic"], BeforeValidator(lower)] = Field(
        default="openai", description="Its wire format"
    )
    base_url: BaseUrl = Field(description="Address up to and including the version")
    api_key_env: VariableName | None = Field(
        default=None, description="Variable that holds its API key"
    )
    api_key: Secret | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="Its model to ask"
    )
    timeout: PositiveSeconds = Field(
        default=30.0, description="Longest wait for an answer to begin"
    )
    idle: PositiveSeconds = Field(
        default=30.0, description="Longest silence in the middle of an answer"
    )
    whole: PositiveSeconds = Field(default=300.0, description="Longest an answer may take in all")
    thinking: Annotated[Literal["auto", "off"], BeforeValidator(lower)] = Field(
        default="off", description="auto: it thinks as it likes; off: as little as it can"
    )
    max_tokens: Count | None = Field(
        default=None, description="Room for an answer where the persona sets none"
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Where the persona sets none; only of models that take one"
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=1,
        description="Repeats here of a failed request, at most; a question has two in all",
    )
    rate_limit: RateLimit = Field(
        default=RateRule(60, 60.0), description="Requests in a period, at most"
    )
    max_concurrent: Count | None = Field(
        default=None, description="Requests at once, at most; null finds out what it takes"
    )
    quality: Annotated[int, Field(ge=0, le=10)] = Field(
        default=5, description="For quality_optimized; more is better"
    )
    price: PriceSettings | None = Field(
        default=None, description="What it charges; looked up in a maintained table when left out"
    )
    daily_usd: Usd | None = Field(
        default=None, description="USD a day for this provider; null is unlimited"
    )
    monthly_usd: Usd | None = Field(
        default=None, description="USD a calendar month for this provider; null is unlimited"
    )
    context_length: Count | None = Field(
        default=None, description="Its context window in tokens, where no table lists it"
    )
    vision: bool | None = Field(
        default=None, description="It can see images; known by its model's name when left out"
    )
    extra_headers: Extra = Field(
        default_factory=dict, description="Headers that each request has as well; no keys"
    )
    extra_query: Extra = Field(
        default_factory=dict, description="What stands behind ? in its address"
    )
    extra_body: ExtraFields = Field(
        default_factory=dict, description="Fields that each request has as well"
    )

    deployments: tuple[DeploymentSettings, ...] = Field(
        default=(), description="Several keys or addresses of it side by side; these are then all"
    )

    @model_validator(mode="after")
    def _takes_its_temperature(self) -> "ProviderSettings":
        # The pinned version of that wire refuses the field, so ours leaves it out.
        if self.kind == "anthropic" and self.temperature is not None:
            raise ValueError("temperature is not taken by kind: anthropic; leave it out")
        return self

    @property
    def is_on(self) -> bool:
        """May it be asked?"""
        return any(self.asked())

    def asked(self) -> Iterator[tuple[int, SecretStr | None, str, float]]:
        """What may be asked: each deployment's number, key, address and weight.

        One that names a key needs it, one that names none has the provider's; without any listed
        there is one, of number 0.
        """
        listed = list(enumerate(self.deployments, 1)) or [(0, DeploymentSettings())]
        for number, each in listed:
            is_own = each.api_key is not None or each.api_key_env is not None
            key = each.api_key if is_own else self.api_key
            if key is not None or (each if is_own else self).api_key_env is None:
                yield number, key, each.base_url or self.base_url, each.weight


class RoutingSettings(Section):
    """Who answers."""

    strategy: Annotated[
        Literal["prefer_local", "prefer_cloud", "cost_optimized", "quality_optimized"],
        BeforeValidator(lower),
    ] = Field(default="prefer_local", description="How candidates are ordered")
    cloud: Words = Field(
        default=("zai", "openai", "anthropic"), description="Providers, in order of fallback"
    )
    request_types: Mapping[str, Words] = Field(
        default_factory=lambda: {
            "teaching": ("zai", "local", "anthropic", "openai"),
            "quick": ("local", "openai", "zai", "anthropic"),
        },
        description="Own order by a persona's request_type; `local` stands for the hosts",
    )
    max_local_wait: Seconds = Field(
        default=120.0, description="A longer wait counts as cannot serve"
    )
    max_cloud_wait: Seconds = Field(
        default=120.0, description="Longest wait in the line of a provider"
    )
    max_concurrent: Count = Field(
        default=5, description="Replies at once per host that does not say itself"
    )
    max_waiting: Count = Field(
        default=500, description="Turns waiting at one host at once, at most; more go elsewhere"
    )
    preload: bool = Field(
        default=False,
        description="Load models before the hours they are usually asked for, into free memory",
    )
    slow_after: Seconds = Field(
        default=20.0, description="A longer wait for a cold model offers something quicker"
    )
    when_slow: Annotated[Literal["ask", "wait", "warm", "cloud"], BeforeValidator(lower)] = Field(
        default="ask", description="Then: ask meanwhile, wait, take a warm model, or the cloud"
    )


class BudgetSettings(Section):
    """What the cloud may cost."""

    daily_usd: Usd | None = Field(
        default=10.0, description="USD a day for everybody; null is unlimited"
    )
    monthly_usd: Usd | None = Field(
        default=None, description="USD a calendar month for everybody; null is unlimited"
    )
    alert_at: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.8, description="Share of any of these that warns the admins"
    )
    per_guild_usd: Usd | None = Field(default=None, description="USD a day for one server")
    per_user_usd: Usd | None = Field(default=None, description="USD a day for one person")
    timezone: TimeZone = Field(
        default="UTC",
        description="Where days and months begin; also of {date} and {time} in prompts",
    )


class CacheSettings(Section):
    """Exact-match answers."""

    enabled: bool = Field(default=False, description="Answer an identical question from the cache")
    ttl: PositiveSeconds = Field(default=3600.0, description="How long an answer is kept")
    max_entries: Count = Field(default=1000, description="Answers kept, at most")


class EvictionSettings(Section):
    """When idle models leave memory."""

    idle_ttl: PositiveSeconds = Field(
        default=1800.0, description="Rest without work before it is unloaded"
    )
    sweep_every: PositiveSeconds = Field(
        default=30.0, description="How often idle models are looked for"
    )
    evict_foreign: bool = Field(default=False, description="Also unload models that others loaded")


class HealthSettings(Section):
    """How hosts are probed."""

    interval: PositiveSeconds = Field(default=30.0, description="Time between probes of a host")
    timeout: PositiveSeconds = Field(default=5.0, description="Longest wait for a probe")


class DiscordSettings(Section):
    """The Discord face."""

    token: Secret | None = None
    default_persona: Name = Field(default="default", description="Who answers where nobody chose")
    dms: Annotated[Literal["off", "members", "owners", "everyone"], BeforeValidator(lower)] = Field(
        default="members",
        description="Who may write directly: nobody, members of a served server, owners, everyone",
    )
    allowed_guilds: DiscordIds = Field(
        default=(), description="Ids of the servers that are served; empty serves all"
    )
    allowed_channels: DiscordIds = Field(
        default=(), description="Ids of the channels that are served, with their threads"
    )
    allowed_users: DiscordIds = Field(
        default=(), description="Ids of the people who are answered, beside `allowed_roles`"
    )
    allowed_roles: Words = Field(
        default=(), description="Ids or names of roles whose members are answered"
    )
    blocked_channels: DiscordIds = Field(
        default=(), description="Ids of channels that are left out, with their threads"
    )
    blocked_users: DiscordIds = Field(
        default=(), description="Ids of people who are not answered, whatever lets them in"
    )
    blocked_roles: Words = Field(
        default=(), description="Ids or names of roles whose members are not answered"
    )
    rate_limit: RateLimit | None = Field(
        default=RateRule(30, 60.0), description="Questions taken of one person; null is unlimited"
    )
    tokens_per_day: Count | None = Field(
        default=None,
        description="Tokens of one person's prompts and answers a day; null is unlimited",
    )
    unprompted_channels: DiscordIds = Field(
        default=(), description="Ids of channels where every message is answered, without a mention"
    )
    admin_roles: Words = Field(
        default=(), description="Ids or names of roles that may manage Lantern"
    )
    conversation: Annotated[Literal["channel", "reply_chain"], BeforeValidator(lower)] = Field(
        default="channel",
        description="What a message goes on from: the channel's talk, or only what it replies to",
    )
    fresh_after: PositiveSeconds | None = Field(
        default=None, description="Rest after which a conversation begins afresh; null is never"
    )
    answer_missed: PositiveSeconds | None = Field(
        default=None,
        description="Questions sent while Lantern was away are answered when no older than this; "
        "null only tells who asked within five minutes",
    )
    owner_channel: DiscordId | None = Field(
        default=None,
        description="Id of the channel for news to the owners; in private when left out",
    )
    edit_style: Annotated[Literal["adaptive"], BeforeValidator(lower)] = Field(
        default="adaptive", description="Streamed text is paced by Discord's limits; the only style"
    )
    footer: bool = Field(default=True, description="Show model, host and speed under a reply")
    warm_up: bool = Field(
        default=False,
        description="Load what will answer while somebody still writes, where nothing has to leave",
    )
    presence: bool = Field(
        default=True, description="Show under the bot's name how the fleet stands"
    )
    webhooks: bool = Field(
        default=True,
        description="Personas speak by their own name and picture, where the bot may have webhooks",
    )


class GatewaySettings(Section):
    """The OpenAI-compatible HTTP face."""

    enabled: bool = Field(default=False, description="Listen for HTTP clients")
    listen: ListenAddress = Field(default="127.0.0.1:8400", description="address:port to listen on")
    allow: Networks = Field(
        default=("127.0.0.0/8",), description="Networks that may connect; empty is nobody"
    )
    trusted_proxies: Networks = Field(
        default=(), description="Proxies whose forwarded addresses count"
    )
    host_names: HostNames = Field(
        default=(), description="Names clients may call it by, beside addresses and localhost"
    )
    cors_origins: Origins = Field(
        default=(), description="Web pages that may ask /v1 from a browser, such as https://a.lan"
    )
    max_body: Bytes = Field(
        default=ByteSize(32 << 20),
        ge=1024,
        le=1 << 30,
        description="Largest request, such as 32MiB",
    )


class StorageSettings(Section):
    """Where turns are kept."""

    url: DatabaseUrl = Field(
        default="sqlite:///lantern.db", description="A relative file lies beside the config file"
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(lower)
    ] = Field(default="info", description="The least that is logged")
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(lower)] = Field(
        default="auto", description="auto: colours on a terminal, JSON lines otherwise"
    )


class Settings(BaseSettings):
    """Everything that can be set; made by ``load_settings`` alone."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, title="Lantern configuration"
    )

    hosts: Annotated[tuple[HostSettings, ...], BeforeValidator(split_hosts)] = Field(
        default=(), description="LM Studio hosts: mappings, or plain address:port"
    )
    providers: Mapping[ProviderKey, ProviderSettings] = Field(
        default_factory=dict[str, ProviderSettings],
        description="zai, openai and anthropic are known; any other needs base_url and model",
    )
    routing: RoutingSettings = RoutingSettings()
    budget: BudgetSettings = BudgetSettings()
    cache: CacheSettings = CacheSettings()
    eviction: EvictionSettings = EvictionSettings()
    health: HealthSettings = HealthSettings()
    discord: DiscordSettings = DiscordSettings()
    gateway: GatewaySettings = GatewaySettings()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()
    secrets_dir: str | None = Field(default=None, description="Directory with one file per secret")
