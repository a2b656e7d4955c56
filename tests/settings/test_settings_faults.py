"""Every fault, in plain words, with its place, all at once."""

import re
from pathlib import Path

import pytest
from settings_files import faults

from bot.domain.errors import ConfigError
from bot.settings import load_settings

# fmt: off
FILE_FAULTS = [
    ('routing: {strategy: prefer_locl}', 1, 'routing.strategy is "prefer_locl"; expected one of'),
    ('routing:\n  stratgy: x', 2, 'routing.stratgy is not known; nearest: routing.strategy'),
    ('strategy: prefer_local', 1, 'strategy is not known; nearest: routing.strategy'),
    ('logs: {level: info}', 1, 'logs is not known; nearest: log'),
    ('log: loud', 1, 'log is "loud"; expected a mapping of keys'),
    ('log: {level: [info]}', 1, 'log.level is a list; expected one of debug, info, warning,'),
    ('log: {level: null}', 1, 'log.level is empty; expected one of debug, info, warning, error,'),
    ('cache: {enabled: perhaps}', 1, 'cache.enabled is "perhaps"; expected true or false'),
    ('cache: {max_entries: many}', 1, 'cache.max_entries is "many"; expected a whole number'),
    ('cache: {max_entries: 1.5}', 1, 'cache.max_entries is 1.5; expected a whole number'),
    ('cache: {max_entries: 0}', 1, 'cache.max_entries is 0; expected at least 1'),
    ('cache: {ttl: soon}', 1, 'cache.ttl is "soon"; expected a duration such as 30s, 5m or 1h (a'),
    ('cache: {ttl: 0}', 1, 'cache.ttl is 0; expected a duration such as 30s, 5m or 1h (a bare'),
    ('cache: {ttl: -5s}', 1, 'cache.ttl is "-5s"; expected a duration'),
    ('cache: {ttl: true}', 1, 'cache.ttl is true; expected a duration'),
    ('budget: {alert_at: 1.5}', 1, 'budget.alert_at is 1.5; expected at most 1'),
    ('budget: {daily_usd: -1}', 1, 'budget.daily_usd is -1; expected at least 0'),
    ('budget: {daily_usd: 1000000.01}', 1, 'daily_usd is 1000000.01; expected at most 1000000'),
    ('budget: {monthly_usd: .inf}', 1, 'budget.monthly_usd is ".inf"; expected a number'),
    ('cache: {max_entries: 1000000001}', 1, 'expected at most 1000000000'),
    ('budget: {timezone: Mars/Base}', 1, 'budget.timezone is "Mars/Base"; expected a time zone'),
    ('gateway: {listen: 8400}', 1, 'gateway.listen is 8400; expected address:port'),
    ('gateway: {listen: "http://127.0.0.1:84/v1"}', 1, '10.0.0.2:1234, without http://'),
    ('gateway: {listen: localhost}', 1, 'gateway.listen is "localhost"; expected address:port'),
    ('gateway:\n  allow:\n    - 10.0.0.0/8\n    - home', 4, 'gateway.allow.1 is "home"; expected'),
    ('discord: {allowed_guilds: [my server]}', 1, 'discord.allowed_guilds.0 is "my server";'),
    ('discord: {dms: friends}', 1, 'discord.dms is "friends"; expected'),
    ('discord: {allowed_users: [alice]}', 1, 'discord.allowed_users.0 is "alice";'),
    ('discord: {edit_style: wild}', 1, 'discord.edit_style is "wild"; expected adaptive'),
    ("discord: {default_persona: ''}", 1, 'discord.default_persona is ""; expected at least 1'),
    ('storage: {url: postgresql://db/x}', 1, 'storage.url is "postgresql://db/x"; expected'),
    ("storage: {url: 'sqlite:///'}", 1, 'storage.url is "sqlite:///"; expected sqlite:/// and a'),
    ('hosts: 5', 1, 'hosts is 5; expected a list'),
    ('hosts: {a: b}', 1, 'hosts is a mapping; expected a list'),
    ('hosts: [7]', 1, 'hosts.0 is 7; expected a mapping of keys'),
    ("hosts: ['https://10.0.0.1:1234']", 1, 'expected address:port such as 10.0.0.2:1234, without'),
    ("hosts: ['http://10.0.0.1/chat']", 1, 'hosts.0.address is "http://10.0.0.1/chat"; expected'),
    ("hosts: ['http://a:b@10.0.0.1']", 1, 'expected address:port such as 10.0.0.2:1234, without'),
    ("hosts: ['10.0.0.1:70000']", 1, 'hosts.0.address is "10.0.0.1:70000"; expected address:port'),
    ("hosts: ['10.0.0.300']", 1, 'hosts.0.address is "10.0.0.300"; expected address:port'),
    ("hosts: ['10.0.0.1:0']", 1, 'hosts.0.address is "10.0.0.1:0"; expected address:port'),
    ("hosts: ['fe80::1']", 1, 'hosts.0.address is "fe80::1"; expected address:port'),
    ("hosts: ['[fe80]']", 1, 'hosts.0.address is "[fe80]"; expected address:port'),
    ('hosts: [{name: a}]', 1, 'hosts.0.address is missing'),
    ('hosts:\n- address: a\n  memory: 5', 3, 'hosts.0.memory is not known; nearest:'),
    ('hosts:\n- address: a\n  url: x', 3, 'hosts.0.url is not known; known here: address, '),
    ('hosts: [{address: a, memory_gb: lots}]', 1, 'hosts.0.memory_gb is "lots"; expected a size'),
    ('hosts: [{address: a, memory_gb: 0}]', 1, 'hosts.0.memory_gb is 0; expected a size in GB'),
    ('hosts: [{address: a, weight: 0}]', 1, 'hosts.0.weight is 0; expected more than 0'),
    ('hosts: [{address: a, weight: .inf}]', 1, 'hosts.0.weight is ".inf"; expected a number'),
    ('hosts: [{address: a, wake_mac: 00:1a:2b}]', 1, 'the address of a network card such as'),
    ('gateway: {cors_origins: ["*"]}', 1, 'gateway.cors_origins.0 is "*"; expected the origin of'),
    ('gateway: {cors_origins: [chat.lan]}', 1, 'gateway.cors_origins.0 is "chat.lan"; expected'),
    ('gateway: {cors_origins: ["http://a/b"]}', 1, 'gateway.cors_origins.0 is "http://a/b";'),
    ('gateway: {cors_origins: ["file://"]}', 1, 'gateway.cors_origins.0 is "file://"; expected'),
    ('gateway: {cors_origins: [7]}', 1, 'gateway.cors_origins.0 is 7; expected the origin of a'),
    ('gateway: {host_names: ["box:8400"]}', 1, 'gateway.host_names.0 is "box:8400"; expected a'),
    ('gateway: {host_names: ["http://box"]}', 1, 'gateway.host_names.0 is "http://box"; expected'),
    ('gateway: {enabled: perhaps}', 1, 'gateway.enabled is "perhaps"; expected true or false'),
    ('gateway: {max_body: huge}', 1, 'gateway.max_body is "huge"; expected a number of bytes'),
    ("hosts: [{address: a, name: ' a'}]", 1, 'hosts.0.name is " a"; expected one line of text,'),
    ('hosts: [{address: a, token_env: STUDIO_TOKEN}]', 1, 'hosts.0.token_env names STUDIO_TOKEN,'),
    ('hosts: [{address: a, token_env: MYTOKEN}]', 1, 'hosts.0.token_env names MYTOKEN,'),
    ('hosts:\n- {name: "b:1234", address: a}\n- b', 3, 'hosts.1.address is "b:1234", and so is'),
    ('hosts:\n- b\n- {name: "B:1234", address: a}', 3, 'hosts.1.name is "B:1234", and so'),
    ('hosts:\n- a\n- A:1234', 3, 'hosts.1.address is "a:1234", and so is hosts.0.address;'),
    ('hosts:\n- {address: a, name: x}\n- address: b\n  name: X', 4, 'hosts.1.name is "X", and so'),
    ('providers: {foo: {model: x}}', 1, 'providers.foo.base_url is missing'),
    ('providers: {foo: {base_url: ftp://x, model: y}}', 1, 'providers.foo.base_url is "ftp://x";'),
    ('providers: {local: {base_url: http://x, model: y}}', 1, 'providers.local is "local";'),
    ('providers: {zai: {rate_limit: fast}}', 1, 'providers.zai.rate_limit is "fast"; expected a'),
    ('providers: {zai: {kind: grpc}}', 1, 'providers.zai.kind is "grpc"; expected one of openai,'),
    ('providers: {zai: {extra_headers: {X-Api-Key: k}}}', 1, 'a key belongs in api_key_env'),
    ('providers: {zai: {extra_headers: {authorization: k}}}', 1, 'a key belongs in api_key_env'),
    ('providers: {zai: {extra_headers: {Host: k}}}', 1, 'other than Host, which Lantern sets'),
    ('providers: {zai: {extra_headers: {"a b": k}}}', 1, 'names of letters, digits and -_., each'),
    ('providers: {zai: {extra_headers: {a: "k\\nb: c"}}}', 1, 'each with a text on one line'),
    ('providers: {zai: {extra_headers: {a: "ü"}}}', 1, 'each with a text on one line'),
    ('providers: {zai: {extra_headers: {a: [1]}}}', 1, 'providers.zai.extra_headers.a is'),
    ('providers: {zai: {extra_query: {token: k}}}', 1, 'extra_query.token holds a secret, which'),
    ('providers: {zai: {extra_body: {max_tokens: 9}}}', 1, 'other than max_tokens, which Lantern'),
    ('providers: {zai: {extra_body: {model: a, n: 3}}}', 1, 'fields other than model, which'),
    ('providers: {zai: {extra_body: [a]}}', 1, 'providers.zai.extra_body is a list; expected a'),
    ('routing: {cloud: [zia]}', 1, 'routing.cloud names "zia", which is no provider; nearest: zai'),
    ('routing:\n  request_types:\n    quick: [lokal]', 3, 'routing.request_types.quick names'),
    ('routing: {request_types: {quick: 5}}', 1, 'routing.request_types.quick is 5; expected a'),
    ('- a\n- b', 1, 'expected lines of `key: value`, found a list'),
    ('just words', 1, 'expected lines of `key: value`, found a single value'),
    ('log: {level: info}\nlog: {level: debug}', 2, 'log stands twice (first on line 1)'),
    ('log:\n\tlevel: info', 2, ', column 1: broken YAML: a tab; indent with spaces'),
    ('log: {level: info', 1, ', column 18: broken YAML:'),
    ('log: {level: !env info}', 1, 'a tag (`!…`) that means nothing here'),
    ('log: {? [a] : b}', 1, 'a key must be a plain word'),
    ('log: *missing', 1, ', column 6: broken YAML: found undefined alias'),
    ('log: \x07', 1, 'a character that YAML does not allow'),
]
# fmt: on


@pytest.mark.parametrize(
    ("config", "line", "words"), FILE_FAULTS, ids=[config[:40] for config, _, _ in FILE_FAULTS]
)
def test_a_fault_of_the_file_is_named_with_its_line(
    tmp_path: Path, config: str, line: int, words: str
) -> None:
    (found,) = faults(tmp_path, config)
    assert found.startswith(f"config.yaml line {line}")
    assert words in found


VARIABLE_FAULTS = [
    ("LANTERN_ROUTNG__STRATEGY", "x", "LANTERN_ROUTNG is not known; nearest: LANTERN_ROUTING"),
    ("LANTERN_ROUTING__STRATGY", "x", "LANTERN_ROUTING__STRATGY is not known; nearest: LANTERN_R"),
    ("LANTERN_LOGS__LEVEL", "info", "LANTERN_LOGS is not known; nearest: LANTERN_LOG"),
    ("LANTERN_HOSTS", "https://a:1", 'hosts.0.address is "https://a:1"; expected address:port'),
    ("LANTERN_HOSTS", '[{"address": "a"', "hosts is "),
    ("LANTERN_HOSTS__0__ADDRESS", "a", "hosts is a mapping; expected a list"),
    ("LANTERN_ROUTING", "fast", 'routing is "fast"; expected a mapping of keys'),
    ("LANTERN_BUDGET__DAILY_USD", "ten", 'budget.daily_usd is "ten"; expected a number'),
    (
        "LANTERN_PROVIDERS__ZAI__API_KEY_ENV",
        "A_B",
        "providers.zai.api_key_env names A_B, which is set nowhere",
    ),
]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://a:1/v1/chat", "such as 10.0.0.2:1234, without a path behind it"),
        ("a:1/foo", "such as 10.0.0.2:1234, without a path behind it"),
        ("http://me:pw@a:1", "such as 10.0.0.2:1234, without name and password"),
        ("ws://a:1/v1", "such as 10.0.0.2:1234, without ws://"),
        ("a:1;b:2", "such as 10.0.0.2:1234, or a JSON list; entry 1 is no address"),
        (
            f"{'a:1, ' * 20}b:2 c:3",
            "expected a comma list of address:port such as 10.0.0.2:1234, or a JSON list; "
            "entry 21 is no address",
        ),
    ],
)
def test_what_is_too_much_or_parts_hosts_wrongly_is_named(
    tmp_path: Path, value: str, words: str
) -> None:
    (fault,) = faults(tmp_path, environ={"LANTERN_HOSTS": value})
    assert fault.endswith(words)


@pytest.mark.parametrize(("name", "value", "expected"), VARIABLE_FAULTS)
def test_a_fault_of_a_variable_is_named_with_it(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    (fault,) = faults(tmp_path, environ={name: value})
    assert fault.startswith(f"environment variable {name}: {expected}")


@pytest.mark.parametrize(
    "secret", ["abc-se\ncret", "abc-se\rcret", "abc-se\tcret", "\x7fabc-secret"]
)
@pytest.mark.parametrize(
    ("name", "key"),
    [("DISCORD_TOKEN", "discord.token"), ("Z_AI_API_KEY", "providers.zai.api_key")],
)
def test_a_secret_that_no_request_can_carry_stops_the_start_and_is_not_repeated(
    tmp_path: Path, name: str, key: str, secret: str
) -> None:
    (fault,) = faults(tmp_path, environ={name: secret})
    assert fault.startswith(f"environment variable {name}: {key} is ")
    assert "expected a secret on one line" in fault
    assert "cret" not in fault.replace("secret on one line", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LANTERN_HOST", "LANTERN_HOST is not known; nearest: LANTERN_HOSTS"),
        ("LANTERN_STRATEGY", "LANTERN_STRATEGY is not known; nearest: LANTERN_ROUTING__STRATEGY"),
        (
            "LANTERN_ROUTING_STRATEGY",
            "LANTERN_ROUTING_STRATEGY is not known; nearest: LANTERN_ROUTING__STRATEGY",
        ),
        ("LANTERN_PORT", "LANTERN_PORT is not known"),
        ("LANTERN_SERVICE_HOST", "LANTERN_SERVICE_HOST is not known"),
    ],
)
def test_dotenv_is_strict_since_nobody_but_its_owner_writes_it(
    tmp_path: Path, name: str, words: str
) -> None:
    (fault,) = faults(tmp_path, dotenv=f"{name}=10.0.0.1\n")
    assert fault.startswith(f".env line 1, {name}: {words}")


def test_the_faults_of_a_file_stand_in_the_order_of_its_lines(tmp_path: Path) -> None:
    config = """\
nothing: 1
log: {level: loud}
discord: {token: abc}
hosts: [a, a]
routing:
  strategy: fastest
  cloud: nobody
cache: {}
cache: {ttl: soon}
storage: {url: 7}
"""
    dotenv = "\nLANTERN_CACHE__TTL=soon\nLANTERN_TYPO=1\nwhat is this\n"
    found = [fault.split(":")[0] for fault in faults(tmp_path, config, {}, dotenv)]
    assert found == [
        ".env line 2, LANTERN_CACHE__TTL",
        ".env line 3, LANTERN_TYPO",
        ".env line 4",
        *(f"config.yaml line {number}" for number in (1, 2, 3, 4, 6, 7, 9, 10)),
    ]


def test_a_fault_of_dotenv_is_named_with_its_line(tmp_path: Path) -> None:
    dotenv = "# hosts\n\nLANTERN_CACHE__TTL=soon\nwhat is this\nLANTERN_TYPO=1\n"
    ttl, broken, typo = faults(tmp_path, dotenv=dotenv)
    assert broken == ".env line 4: not understood; expected NAME=value"
    assert ttl.startswith('.env line 3, LANTERN_CACHE__TTL: cache.ttl is "soon"')
    assert typo.startswith(".env line 5, LANTERN_TYPO: LANTERN_TYPO is not known")


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    config = """
routing: {strategy: x, cloud: [nobody]}
routing: {}
hosts: [a, a, "https://b"]
log: {level: loud}
token: abc
"""
    found = faults(tmp_path, config, {"LANTERN_X__Y": "1"}, "LANTERN_CACHE__TTL=soon")
    assert len(found) == 9
    assert len([fault for fault in found if re.match(r"config\.yaml line \d", fault)]) == 7


@pytest.mark.parametrize(
    ("config", "environ", "expected"),
    [
        (None, {"LANTERN_CONFIG": "gone.yaml"}, "environment variable LANTERN_CONFIG: "),
        (Path("gone.yaml"), {}, "--config: "),
    ],
)
def test_a_named_config_file_must_be_there(
    tmp_path: Path, config: Path | None, environ: dict[str, str], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(config, environ, tmp_path)
    (fault,) = caught.value.faults
    assert fault.startswith(expected)
    assert fault.endswith("gone.yaml: cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe\x00", "not a text file"), (b"#" * (1 << 20) + b"#", "larger than 1024 KiB")],
)
def test_a_config_file_that_is_no_text_is_a_fault(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    (fault,) = faults(tmp_path)
    assert words in fault


def test_a_secrets_directory_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, environ={"LANTERN_SECRETS_DIR": "gone"})
    assert "secrets cannot be read" in fault


@pytest.mark.parametrize(
    "config",
    [
        "a: [" * 2000,
        "a: &a [" + "1," * 150 + "]\nb: &b [" + "*a," * 150 + "]\nc: [" + "*b," * 99 + "]",
        "&a [*a]",
    ],
)
def test_a_hostile_file_is_a_fault_and_no_more(tmp_path: Path, config: str) -> None:
    (fault,) = faults(tmp_path, config)
    assert len(fault) < 200


def test_a_temperature_is_refused_where_its_wire_takes_none(tmp_path: Path) -> None:
    found = faults(tmp_path, "providers: {anthropic: {temperature: 0.5}}\n")
    assert any("not taken by kind: anthropic" in fault for fault in found)
