"""Names of things, told apart by type so that one cannot be passed for another."""

from typing import NewType

HostName = NewType("HostName", str)
"""The configured name of a host, else its ``address:port``."""

ProviderName = NewType("ProviderName", str)
"""The configured name of a cloud provider: ``zai``, ``openai``, ``anthropic`` or any other."""

ModelKey = NewType("ModelKey", str)
"""LM Studio's name of a model on disk, such as ``qwen/qwen3-30b-a3b-2507``."""

InstanceId = NewType("InstanceId", str)
"""The identifier an instance answers to on its host; equals the model key unless that was taken."""

InstanceRef = NewType("InstanceRef", str)
"""LM Studio's instance reference: new at every load, so it proves *which* load this is."""

PersonaName = NewType("PersonaName", str)

TurnId = NewType("TurnId", str)
"""Hexadecimal, random, made by the root."""

UserId = NewType("UserId", str)
"""A person as a face knows them, prefixed by the face: ``discord:42``, ``terminal:ada``."""

PlaceId = NewType("PlaceId", str)
"""A channel, thread, direct message or server as a face knows it: ``discord:99``."""

AUTO = ModelKey("auto")
"""Asks for the model that can answer soonest instead of a named one."""
