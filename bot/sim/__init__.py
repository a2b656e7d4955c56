"""Simulated LM Studio hosts on real sockets, for the demo and for every test.

A simulated host speaks what the unmodified SDK and plain HTTP clients expect of LM Studio 0.3 or
0.4: the WebSocket protocol, the OpenAI-shaped and native REST paths, load times, memory, slots,
idle TTL, and faults on demand. It runs no model, decides nothing for Lantern and is reached only
from the root, the command line and tests.
"""
