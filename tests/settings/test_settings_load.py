"""What holds when somebody sets something, or nothing."""

import json
import re
from pathlib import Path

import pytest
from settings_files import DISCORD_TOKEN, LM_TOKEN, ROOT, faults, load, plain

from bot.app import plan_from
from bot.domain.chat import Extras
from bot.domain.cloud import Price, PriceStep, ProviderConfig
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.ratelimit import RateRule
from bot.settings import masked, missing_for_run
from bot.settings.tree import ProviderSettings

PRODUCT_CONFIG = """
hosts:
  - {name: studio-1, address: "10.0.0.102:1234", memory_gb: 96, max_loaded: 3,
     token_env: STUDIO1_TOKEN, weight: 1.0}
providers:
  zai: {kind: openai, base_url: "https://api.z.ai/api/paas/v4", api_key_env: Z_AI_API_KEY,
        model: glm-4.6, timeout: 30s, retries: 3, rate_limit: 60/min, max_concurrent: 5, quality: 8}
  openai: {model: gpt-6-luna}
  anthropic: {model: claude-haiku-5-5}
routing:
  strategy: prefer_local          # prefer_local | prefer_cloud | cost_optimized | quality_optimized
  cloud: [zai, openai, anthropic] # fallback order
  request_types: {teaching: [zai, local, anthropic, openai], quick: [local, openai, zai, anthropic]}
  max_local_wait: 120s            # longer than this counts as "cannot serve"
  max_concurrent: 5               # replies generated at once per host when the host does not say
budget: {daily_usd: 10.0, alert_at: 0.8, per_guild_usd: null, per_user_usd: null, timezone: UTC}
cache: {enabled: false, ttl: 1h, max_entries: 1000}
eviction: {idle_ttl: 30m, sweep_every: 30s, evict_foreign: false}
health: {interval: 30s, timeout: 5s}
discord: {default_persona: default, allowed_guilds: [], admin_roles: [], edit_style: adaptive,
          footer: true}
gateway: {enabled: false, listen: "127.0.0.1:8400", allow: ["127.0.0.0/8"], trusted_proxies: []}
storage: {url: "sqlite:///lantern.db"}
log: {level: info, format: auto}   # auto: colours on a terminal, JSON lines otherwise
"""


def test_two_variables_are_a_whole_set_up(tmp_path: Path) -> None:
    dotenv = f"DISCORD_TOKEN={DISCORD_TOKEN}\nLANTERN_HOSTS=10.0.0.102:1234,10.0.0.100:1234\n"
    loaded = load(tmp_path, dotenv=dotenv)
    assert missing_for_run(loaded) == ()
    assert loaded.host_configs == (
        HostConfig(name=HostName("10.0.0.102:1234"), address="10.0.0.102:1234"),
        HostConfig(name=HostName("10.0.0.100:1234"), address="10.0.0.100:1234"),
    )
    assert loaded.secrets == (DISCORD_TOKEN,)
    assert loaded.warnings == ()


def test_nothing_at_all_is_fine_but_for_run(tmp_path: Path) -> None:
    missing = missing_for_run(load(tmp_path))
    assert len(missing) == 2
    assert "DISCORD_TOKEN" in missing[0]
    assert "LANTERN_HOSTS" in missing[1]


def test_a_provider_without_hosts_is_enough_to_run(tmp_path: Path) -> None:
    environ = {"DISCORD_TOKEN": DISCORD_TOKEN, "OPENAI_API_KEY": "sk-proj-abcdefghijklmnop"}
    assert missing_for_run(load(tmp_path, environ=environ)) == ()


def test_the_documented_file_says_the_defaults(tmp_path: Path) -> None:
    written = load(tmp_path, PRODUCT_CONFIG, {"STUDIO1_TOKEN": LM_TOKEN}).settings
    # But for the repeats: who says nothing gets one at a provider, so that the question's other is
    # left for the next.
    assert written.providers["zai"].retries == 3
    bare = load(tmp_path, "providers: {zai: {retries: 3}}").settings
    assert plain(written.model_copy(update={"hosts": ()})) == plain(bare)


def test_a_host_of_the_file_reaches_the_fleet_whole(tmp_path: Path) -> None:
    loaded = load(tmp_path, PRODUCT_CONFIG, {"STUDIO1_TOKEN": LM_TOKEN})
    (host,) = loaded.host_configs
    assert host.name == "studio-1"
    assert host.memory_bytes == 96 * 10**9
    assert host.max_loaded == 3
    assert host.token == LM_TOKEN
    assert host.slots == 5


EVERY_KEY = """
routing: {max_cloud_wait: 77s}
providers:
  acme:
    kind: openai
    base_url: http://10.0.0.9:8000/v1/
    api_key_env: ACME_KEY
    model: qwen/qwen3-vl-8b
    timeout: 31s
    idle: 32s
    whole: 33s
    thinking: auto
    max_tokens: 34
    temperature: 0.35
    retries: 6
    rate_limit: 37/h
    max_concurrent: 8
    quality: 9
    price: {input: 0.1, output: 0.5, cached: 0.01}
    daily_usd: 1.5
    monthly_usd: 20
    context_length: 40000
    vision: false
    extra_headers: {X-Title: lantern}
    extra_query: {api-version: 2026-01-01-preview}
    extra_body: {provider: {sort: price}, seed: 7}
"""


def test_a_provider_of_the_file_reaches_the_cloud_whole(tmp_path: Path) -> None:
    loaded = load(tmp_path, EVERY_KEY, {"ACME_KEY": "its-key"})
    assert set(loaded.settings.providers["acme"].model_fields_set) | {"deployments"} == set(
        ProviderSettings.model_fields
    )
    name = ProviderName("acme")
    (config,) = (each for each in loaded.provider_configs if each.name == name)
    assert config == ProviderConfig(
        name,
        "http://10.0.0.9:8000/v1",
        ModelKey("qwen/qwen3-vl-8b"),
        wire="openai",
        dialect="generic",
        api_key="its-key",
        timeout_s=31.0,
        idle_s=32.0,
        whole_s=33.0,
        max_wait_s=77.0,
        retries=6,
        rate_count=37,
        rate_period_s=3600.0,
        max_concurrent=8,
        quality=9,
        thinking="auto",
        max_tokens=34,
        temperature=0.35,
        price=Price((PriceStep(100_000, 500_000, 10_000),), "config"),
        context_length=40_000,
        vision=False,
        extras=Extras(
            {"X-Title": "lantern"},
            {"api-version": "2026-01-01-preview"},
            {"provider": {"sort": "price"}, "seed": 7},
        ),
    )
    assert loaded.budget_rules.by_provider[name] == (1_500_000, 20_000_000)


def test_the_shipped_example_changes_nothing(tmp_path: Path) -> None:
    example = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    assert plain(load(tmp_path, example).settings) == plain(load(tmp_path, "").settings)


def test_the_examples_in_the_shipped_file_are_right_when_taken_in(tmp_path: Path) -> None:
    example = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    environ = {"STUDIO1_TOKEN": LM_TOKEN, "OPENROUTER_API_KEY": "sk-or-v1-abcdefghijkl"}
    (tmp_path / "secrets").mkdir()
    environ["LANTERN_SECRETS_DIR"] = str(tmp_path / "secrets")
    loaded = load(tmp_path, re.sub(r"(?m)^#:", "", example), environ)
    assert [host.address for host in loaded.settings.hosts] == [
        "10.0.0.102:1234",
        "10.0.0.100:1234",
    ]
    assert loaded.settings.providers["openrouter"].is_on


def test_the_shipped_env_file_asks_for_the_token_alone(tmp_path: Path) -> None:
    loaded = load(tmp_path, dotenv=(ROOT / ".env.example").read_text(encoding="utf-8"))
    assert len(missing_for_run(loaded)) == 1
    assert len(loaded.settings.hosts) == 2


@pytest.mark.parametrize(
    ("variable", "name", "model", "base_url"),
    [
        ("Z_AI_API_KEY", "zai", "glm-4.6", "https://api.z.ai/api/paas/v4"),
        ("OPENAI_API_KEY", "openai", "gpt-6-luna", "https://api.openai.com/v1"),
        ("ANTHROPIC_API_KEY", "anthropic", "claude-haiku-5-5", "https://api.anthropic.com/v1"),
    ],
)
def test_a_key_switches_its_provider_on(
    tmp_path: Path, variable: str, name: str, model: str, base_url: str
) -> None:
    providers = load(tmp_path, environ={variable: "k-0123456789"}).settings.providers
    assert [known for known, provider in providers.items() if provider.is_on] == [name]
    assert (providers[name].model, providers[name].base_url) == (model, base_url)


def test_a_provider_of_ones_own_needs_no_key(tmp_path: Path) -> None:
    config = "providers: {vllm: {base_url: 'http://10.0.0.9:8000/v1/', model: qwen}}"
    provider = load(tmp_path, config).settings.providers["vllm"]
    assert provider.is_on
    assert provider.base_url == "http://10.0.0.9:8000/v1"
    assert provider.rate_limit == RateRule(60, 60.0)


def test_a_configured_provider_without_its_key_is_told(tmp_path: Path) -> None:
    loaded = load(tmp_path, "providers: {openai: {quality: 9}}")
    assert loaded.warnings == ("provider openai stays off: OPENAI_API_KEY is set nowhere",)


@pytest.mark.parametrize(
    ("dotenv", "told"),
    [
        ("DISCORD_TOKN=abc", "1, DISCORD_TOKN: it is not read; nearest: DISCORD_TOKEN"),
        ("DISCORD_BOT_TOKEN=a", "1, DISCORD_BOT_TOKEN: it is not read; nearest: DISCORD_TOKEN"),
        ("A=1\nOPENAI_APIKEY=x", "2, OPENAI_APIKEY: it is not read; nearest: OPENAI_API_KEY"),
        ("z_ai_api_key=x", "1, z_ai_api_key: it is not read; nearest: Z_AI_API_KEY"),
        ("\nZ_AI_API_KEY", "2: Z_AI_API_KEY has no “=” and says nothing; write NAME=value"),
        ("sk-abc123def456ghi", "1: a name has no “=” and says nothing; write NAME=value"),
        # Other programs' variables, and what is set as it should be beside them.
        ("XAI_API_KEY=x\nOPENAI_API_BASE=x\nPATH=x\nDISCORD_KEY=x\nHOME=y", ""),
        ("OPENAI_API_KEY=x\nOPENAI_APIKEY=x", ""),
        ("DISCORD_TOKEN=x\nexport DISCORD_TOKEN", ""),
        ("Z_AI_API_KEY=\n#OPENAI_APIKEY=x", ""),
        ("discord_token=abc", "1, discord_token: discord_token is not read; write DISCORD_TOKEN"),
    ],
)
def test_dotenv_that_only_nearly_says_something_is_told(
    tmp_path: Path, dotenv: str, told: str
) -> None:
    warnings = load(tmp_path, dotenv=dotenv + "\n").warnings
    assert warnings == ((f".env line {told}",) if told else ())


def test_a_variable_that_a_pointer_names_is_no_misspelt_one(tmp_path: Path) -> None:
    config = "providers: {openai: {api_key_env: OPENAI_APIKEY}}"
    loaded = load(tmp_path, config, dotenv="OPENAI_APIKEY=x")
    assert (loaded.settings.providers["openai"].is_on, loaded.warnings) == (True, ())


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("10.0.0.2", "10.0.0.2:1234"),
        ("10.0.0.2:80", "10.0.0.2:80"),
        (" Studio.local:4321 ", "studio.local:4321"),
        ("[fe80::1]", "[fe80::1]:1234"),
        ("[::1]:99", "[::1]:99"),
        ("my_box", "my_box:1234"),
    ],
)
def test_a_host_address_is_completed(tmp_path: Path, written: str, address: str) -> None:
    for environ, config in (({"LANTERN_HOSTS": written}, ""), ({}, f"hosts: ['{written}']")):
        (host,) = load(tmp_path, config, environ).settings.hosts
        assert (host.address, host.name) == (address, address)


def test_hosts_may_be_a_json_list_in_a_variable(tmp_path: Path) -> None:
    hosts = json.dumps([{"address": "a", "name": "A", "token_env": "A_TOKEN"}, "b:1"])
    loaded = load(tmp_path, environ={"LANTERN_HOSTS": hosts, "A_TOKEN": LM_TOKEN})
    assert [(host.name, host.token) for host in loaded.host_configs] == [
        ("A", LM_TOKEN),
        ("b:1", None),
    ]


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("LANTERN_ROUTING__STRATEGY", "Prefer_Cloud", "routing.strategy", "prefer_cloud"),
        ("LANTERN_ROUTING__CLOUD", "openai, zai", "routing.cloud", '["openai", "zai"]'),
        ("LANTERN_ROUTING__CLOUD", "[]", "routing.cloud", "[]"),
        (
            "LANTERN_ROUTING__REQUEST_TYPES__QUICK",
            "local",
            "routing.request_types.quick",
            '["local"]',
        ),
        ("LANTERN_ROUTING", '{"max_concurrent": 2}', "routing.max_concurrent", "2"),
        ("LANTERN_BUDGET__DAILY_USD", "null", "budget.daily_usd", "null"),
        ("LANTERN_BUDGET__TIMEZONE", "Europe/Berlin", "budget.timezone", "Europe/Berlin"),
        ("LANTERN_EVICTION__IDLE_TTL", "90", "eviction.idle_ttl", "90s"),
        ("LANTERN_EVICTION__EVICT_FOREIGN", "yes", "eviction.evict_foreign", "true"),
        ("LANTERN_PROVIDERS__ZAI__RATE_LIMIT", "2/s", "providers.zai.rate_limit", "2/s"),
        (
            "LANTERN_DISCORD__ALLOWED_GUILDS",
            "123456789012345678",
            "discord.allowed_guilds",
            '["123456789012345678"]',
        ),
        ("LANTERN_DISCORD__DMS", "Owners", "discord.dms", "owners"),
        ("LANTERN_DISCORD__RATE_LIMIT", "10/min", "discord.rate_limit", "10/min"),
        ("LANTERN_DISCORD__RATE_LIMIT", "null", "discord.rate_limit", "null"),
        ("LANTERN_DISCORD__ALLOWED_ROLES", "friends", "discord.allowed_roles", '["friends"]'),
        (
            "LANTERN_GATEWAY__ALLOW",
            "10.0.0.5, 10.1.2.3/8",
            "gateway.allow",
            '["10.0.0.5/32", "10.0.0.0/8"]',
        ),
        ("LANTERN_LOG__LEVEL", "DEBUG", "log.level", "debug"),
    ],
)
def test_every_key_can_be_said_by_a_variable(
    tmp_path: Path, variable: str, value: str, key: str, expected: str
) -> None:
    shown = {line["key"]: line for line in masked(load(tmp_path, environ={variable: value}))}
    assert shown[key]["value"] == expected
    assert shown[key]["origin"] == f"environment variable {variable}"


def test_yaml_reads_ids_cards_and_words_as_people_mean_them(tmp_path: Path) -> None:
    config = """
    hosts: [{address: 10.0.0.1, name: no}]
    discord: {allowed_guilds: [123456789012345678], footer: off, default_persona: 007}
    """
    settings = load(tmp_path, config).settings
    assert settings.hosts[0].name == "no"
    assert settings.discord.allowed_guilds == ("123456789012345678",)
    assert settings.discord.footer is False
    assert settings.discord.default_persona == "007"


@pytest.mark.parametrize(
    "config", ["", "# nothing\n", "---\n", "routing:\nproviders:\n  zai:\nhosts:\n"]
)
def test_an_empty_file_or_section_says_nothing(tmp_path: Path, config: str) -> None:
    bare = load(tmp_path)
    loaded = load(tmp_path, config)
    assert loaded.settings == bare.settings
    assert set(loaded.origins.values()) == {"default"}


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.log = settings.log


def test_a_variable_in_small_letters_is_told_of(tmp_path: Path) -> None:
    loaded = load(tmp_path, environ={"lantern_hosts": "10.0.0.2"}, dotenv="Discord_Token=x\n")
    assert loaded.warnings == (
        ".env line 1, Discord_Token: Discord_Token is not read; write DISCORD_TOKEN",
        "environment variable lantern_hosts: lantern_hosts is not read; write LANTERN_HOSTS",
    )


def test_what_docker_and_kubernetes_put_into_the_environment_stops_no_start(
    tmp_path: Path,
) -> None:
    environ = {
        "LANTERN_PORT": "tcp://172.17.0.2:8400",
        "LANTERN_PORT_8400_TCP": "tcp://172.17.0.2:8400",
        "LANTERN_PORT_8400_TCP_ADDR": "172.17.0.2",
        "LANTERN_NAME": "/bot/lantern",
        "LANTERN_ENV_HOME": "/root",
        "LANTERN_SERVICE_HOST": "10.96.0.1",
        "LANTERN_SERVICE_PORT": "8400",
        "LANTERN_SERVICE_PORT_HTTP": "8400",
        "LANTERN_GATEWAY_SERVICE_HOST": "10.96.0.2",
        "LANTERN_GATEWAY_PORT": "tcp://10.96.0.2:8400",
    }
    loaded = load(tmp_path, environ=environ)
    assert loaded.settings == load(tmp_path).settings
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LANTERN_ROUTING_STRATEGY", "LANTERN_ROUTING__STRATEGY"),
        ("LANTERN_ROUTING_STRATGY", "LANTERN_ROUTING__STRATEGY"),
        ("LANTERN_STRATEGY", "LANTERN_ROUTING__STRATEGY"),
        ("LANTERN_HOST", "LANTERN_HOSTS"),
        ("LANTERN_LOG_LEVEL", "LANTERN_LOG__LEVEL"),
        # Another setting is spelt nearly so, but this one is spelt so but for one "_".
        ("LANTERN_BUDGET_PER_USER_USD", "LANTERN_BUDGET__PER_USER_USD"),
    ],
)
def test_a_variable_near_a_setting_is_not_read_and_told_of_once(
    tmp_path: Path, name: str, nearest: str
) -> None:
    loaded = load(tmp_path, environ={name: "prefer_cloud"})
    assert loaded.settings == load(tmp_path).settings
    (warning,) = loaded.warnings
    assert warning == (
        f"environment variable {name}: {name} is no setting and is not read; nearest: {nearest}"
    )


# --- hosts of a variable and of the file ---------------------------------------------------------

BOTH = """hosts:
  - {name: studio, address: 10.0.0.2, memory_gb: 96, token_env: STUDIO_TOKEN}
  - 10.0.0.3
"""


@pytest.mark.parametrize("place", ["environ", "dotenv"])
def test_hosts_of_a_variable_and_of_the_file_are_merged_by_address(
    tmp_path: Path, place: str
) -> None:
    environ = {"STUDIO_TOKEN": LM_TOKEN}
    dotenv = None
    if place == "environ":
        environ["LANTERN_HOSTS"] = "10.0.0.4, 10.0.0.2:1234"
        origin = "environment variable LANTERN_HOSTS"
    else:
        dotenv = "LANTERN_HOSTS=10.0.0.4,10.0.0.2:1234\n"
        origin = ".env line 1, LANTERN_HOSTS"
    loaded = load(tmp_path, BOTH, environ, dotenv)
    attic, studio, other = loaded.host_configs
    assert (attic.address, attic.memory_bytes, attic.token) == ("10.0.0.4:1234", None, None)
    assert (studio.name, studio.address) == ("studio", "10.0.0.2:1234")
    assert (studio.memory_bytes, studio.token) == (96 * 10**9, LM_TOKEN)
    assert other.address == "10.0.0.3:1234"
    assert loaded.warnings == (
        f"{origin} and config.yaml line 1 both name hosts; they are merged by address;"
        " more is known from the file of 10.0.0.2:1234 (name, memory_gb, token_env);"
        " only the file names 10.0.0.3:1234",
    )
    shown = {line["key"]: line["origin"] for line in masked(loaded)}
    assert shown["hosts.0.address"] == origin
    assert shown["hosts.1.address"] == origin
    assert shown["hosts.1.memory_gb"] == "config.yaml line 2"
    assert shown["hosts.1.token"] == "environment variable STUDIO_TOKEN"
    assert shown["hosts.2.address"] == "config.yaml line 3"


def test_of_a_host_said_twice_the_nearer_place_counts(tmp_path: Path) -> None:
    variable = '[{"address": "10.0.0.2", "memory_gb": 48, "name": "mine"}]'
    loaded = load(tmp_path, BOTH, {"LANTERN_HOSTS": variable, "STUDIO_TOKEN": LM_TOKEN})
    mine, _ = loaded.host_configs
    assert (mine.name, mine.memory_bytes, mine.token) == ("mine", 48 * 10**9, LM_TOKEN)
    assert "10.0.0.2:1234 (token_env)" in loaded.warnings[0]


def test_a_host_that_both_name_without_more_is_one_host(tmp_path: Path) -> None:
    loaded = load(tmp_path, "hosts: [10.0.0.2]", {"LANTERN_HOSTS": "10.0.0.2"})
    assert [host.address for host in loaded.host_configs] == ["10.0.0.2:1234"]
    assert loaded.warnings == (
        "environment variable LANTERN_HOSTS and config.yaml line 1 both name hosts;"
        " they are merged by address",
    )


@pytest.mark.parametrize(
    ("config", "variable", "fault"),
    [
        (
            "hosts: [a]",
            "b, 10.0.0.300",
            "environment variable LANTERN_HOSTS: hosts (10.0.0.300).add",
        ),
        ("hosts:\n- 10.0.0.300", "b", "config.yaml line 2: hosts (10.0.0.300).address is"),
        ("hosts:\n- {address: a, memory: 1}", "b", "config.yaml line 2: hosts (a).memory is not"),
        ("hosts:\n- {address: a, memory: 1}", "a", "config.yaml line 2: hosts (a).memory is not"),
        ("hosts:\n- a\n- a", "b", "config.yaml line 3: hosts (a).address is"),
        ("hosts:\n- {address: a, name: x, memory: 1}", "b", "config.yaml line 2: hosts (x).memory"),
        ("hosts:\n- 7", "b", "config.yaml line 2: hosts (7) is 7"),
        ("hosts: 5", "b", "config.yaml line 1: hosts is 5; expected a list"),
        ("hosts: true", "b", "config.yaml line 1: hosts is true; expected a list"),
        ("hosts:\n  a: {memory_gb: 1}", "b", "config.yaml line 1: hosts is a mapping; expected"),
        (
            "hosts:\n  name: a\n  address: b",
            "b",
            "config.yaml line 1: hosts is a mapping; expected",
        ),
        ("hosts: 5", "b, 10.0.0.300", "config.yaml line 1: hosts is 5; expected a list"),
        ("hosts: a b", "b", "config.yaml line 1: hosts is"),
        ("hosts: [a]", '[{"address": "b"', "environment variable LANTERN_HOSTS: hosts is"),
    ],
)
def test_a_fault_among_merged_hosts_keeps_its_place(
    tmp_path: Path, config: str, variable: str, fault: str
) -> None:
    (found,) = faults(tmp_path, config, {"LANTERN_HOSTS": variable})
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "pasted",
    ["http://10.0.0.2:1234", "http://10.0.0.2:1234/", "HTTP://10.0.0.2/v1", "10.0.0.2:1234/v1/",
     "http://10.0.0.2:1234/api/v1", "10.0.0.2/"],
)  # fmt: skip
def test_an_address_is_taken_as_people_paste_it(tmp_path: Path, pasted: str) -> None:
    (host,) = load(tmp_path, environ={"LANTERN_HOSTS": pasted}).settings.hosts
    assert (host.address, host.name) == ("10.0.0.2:1234", "10.0.0.2:1234")


def test_an_ipv6_address_is_taken_as_people_paste_it(tmp_path: Path) -> None:
    (host,) = load(tmp_path, environ={"LANTERN_HOSTS": "http://[fd00::5]:1234/v1"}).settings.hosts
    assert host.address == "[fd00::5]:1234"


def test_a_config_file_of_another_name_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("log: {level: debug}")
    loaded = load(tmp_path)
    assert loaded.settings.log.level == "info"
    assert loaded.warnings == (
        "config.yml is not read; rename it to config.yaml, or name it by --config",
    )
    assert load(tmp_path, "").warnings == ()


SEVERAL = """
providers:
  zai:
    deployments:
      - {api_key_env: KEY_A, weight: 3}
      - {base_url: "https://api.z.ai/api/coding/paas/v4"}
      - {api_key_env: KEY_B, base_url: "https://glm.example/v1"}
"""
KEYS = {"KEY_A": "sk-aaaaaaaaaaaaaaaa", "KEY_B": "sk-bbbbbbbbbbbbbbbb"}


def test_several_keys_and_addresses_of_one_provider_stand_side_by_side(tmp_path: Path) -> None:
    own = "sk-own-aaaaaaaaaaaaa"
    loaded = load(tmp_path, SEVERAL, {**KEYS, "Z_AI_API_KEY": own})
    configs = loaded.provider_configs
    assert [(c.label, c.api_key, c.weight) for c in configs] == [
        ("zai/1", KEYS["KEY_A"], 3.0),
        ("zai/2", own, 1.0),
        ("zai/3", KEYS["KEY_B"], 1.0),
    ]
    assert [c.base_url for c in configs] == [
        "https://api.z.ai/api/paas/v4",
        "https://api.z.ai/api/coding/paas/v4",
        "https://glm.example/v1",
    ]
    assert {c.model for c in configs} == {"glm-4.6"}
    # Each key is masked wherever it might be printed.
    assert {own, *KEYS.values()} <= set(loaded.secrets)


def test_a_deployment_whose_key_is_set_nowhere_is_none_and_another_keeps_its_provider_on(
    tmp_path: Path,
) -> None:
    loaded = load(tmp_path, SEVERAL, KEYS)
    assert [config.label for config in loaded.provider_configs] == ["zai/1", "zai/3"]
    assert loaded.warnings == ()
    (fault,) = faults(tmp_path, SEVERAL, {"KEY_A": KEYS["KEY_A"]})
    assert "providers.zai.deployments.2.api_key_env names KEY_B, which is set nowhere" in fault


def test_a_deployment_has_a_weight_above_nothing(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "providers: {zai: {deployments: [{weight: 0}]}}")
    assert "deployments.0.weight" in fault


@pytest.mark.parametrize(
    ("config", "looks_s"),
    [
        ("", 6.0),
        ("health: {timeout: 20s}", 21.0),
        ("{health: {timeout: 20s}, routing: {max_local_wait: 3s}}", 3.0),
    ],
)
def test_an_unseen_host_is_waited_for_as_long_as_a_look_may_take(
    tmp_path: Path, config: str, looks_s: float
) -> None:
    assert plan_from(load(tmp_path, config), is_owner=True).rules.first_look_s == looks_s


@pytest.mark.parametrize(
    ("lines", "is_seeing"),
    [
        ("model: gpt-6-luna", True),
        ("model: gpt-6-luna, vision: false", False),
        ("model: glm-4.6", False),
        ("model: glm-4.6, vision: true", True),
    ],
)
def test_whether_a_provider_sees_is_known_by_its_model_unless_it_is_said(
    tmp_path: Path, lines: str, is_seeing: bool
) -> None:
    config = "providers: {openai: {" + lines + "}}"
    environ = {"OPENAI_API_KEY": KEYS["KEY_A"]}
    (openai,) = load(tmp_path, config, environ).provider_configs
    assert openai.vision is is_seeing


@pytest.mark.parametrize(("said", "is_on"), [("{}", False), ("{preload: true}", True)])
def test_nothing_is_loaded_for_its_usual_hours_unless_the_owner_wants_it(
    tmp_path: Path, said: str, is_on: bool
) -> None:
    assert plan_from(load(tmp_path, f"routing: {said}\n"), is_owner=True).has_preload is is_on
