"""The models each simulated provider sells unless told otherwise, at prices of November 2026."""

from collections.abc import Mapping

from bot.sim.providers.config import SimPrice, SimProviderConfig, SimProviderModel, WireKind

_MILLION = 1_000_000
_LUNA_EFFORTS = ("none", "low", "medium", "high", "xhigh", "max")
_CLAUDE_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_GLM_EFFORTS = ("low", "high", "max")

_ZAI = (
    SimProviderModel("glm-4.6", SimPrice(600_000, 2_200_000, 110_000), thinking="switch"),
    SimProviderModel("glm-4.7", SimPrice(600_000, 2_200_000, 110_000), thinking="switch"),
    SimProviderModel(
        "glm-4.5-air",
        SimPrice(200_000, 1_100_000, 30_000),
        window=128_000,
        max_output=96_000,
        thinking="switch",
    ),
    SimProviderModel("glm-4.7-flash", SimPrice(0, 0, 0), thinking="switch"),
    SimProviderModel(
        "glm-5.3-flash",
        SimPrice(150_000, 500_000, 30_000),
        window=_MILLION,
        max_output=131_072,
        thinking="always",
        efforts=_GLM_EFFORTS,
    ),
    SimProviderModel(
        "glm-5.3",
        SimPrice(1_400_000, 4_400_000, 260_000),
        window=_MILLION,
        max_output=131_072,
        thinking="always",
        efforts=_GLM_EFFORTS,
    ),
)
_OPENAI = (
    SimProviderModel(
        "gpt-6-luna",
        SimPrice(100_000, 500_000, 10_000),
        window=1_050_000,
        thinking="switch",
        efforts=_LUNA_EFFORTS,
        takes_sampling=False,
        reply_name="gpt-6-luna-2026-09-22",
    ),
    SimProviderModel(
        "gpt-6.1-terra",
        SimPrice(1_000_000, 5_000_000, 50_000),
        window=1_050_000,
        thinking="switch",
        efforts=_LUNA_EFFORTS,
        takes_sampling=False,
    ),
    SimProviderModel(
        "gpt-4o-mini", SimPrice(150_000, 600_000, 75_000), window=128_000, max_output=16_384
    ),
)
_ANTHROPIC = (
    SimProviderModel(
        "claude-haiku-5-5",
        SimPrice(100_000, 500_000, 10_000),
        window=_MILLION,
        thinking="switch",
        efforts=_CLAUDE_EFFORTS,
    ),
    SimProviderModel(
        "claude-haiku-4-5",
        SimPrice(1_000_000, 5_000_000, 100_000),
        max_output=64_000,
        takes_prefill=True,
    ),
    SimProviderModel(
        "claude-sonnet-5-5",
        SimPrice(2_000_000, 10_000_000, 100_000),
        window=_MILLION,
        thinking="switch",
        efforts=_CLAUDE_EFFORTS,
    ),
    SimProviderModel(
        "claude-opus-5-5",
        SimPrice(4_000_000, 20_000_000, 200_000),
        window=_MILLION,
        thinking="always",
        efforts=_CLAUDE_EFFORTS,
    ),
)
_GENERIC = (
    SimProviderModel("z-ai/glm-4.6", SimPrice(430_000, 1_740_000), thinking="switch"),
    SimProviderModel("sim/free-small", window=32_768, max_output=8_192),
)

_CATALOGUES: Mapping[WireKind, tuple[SimProviderModel, ...]] = {
    "zai": _ZAI,
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "generic": _GENERIC,
}


def models_of(config: SimProviderConfig) -> tuple[SimProviderModel, ...]:
    """Return what a provider sells."""
    return config.models or _CATALOGUES[config.wire]
