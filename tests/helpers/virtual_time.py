"""Virtual time for tests: the clock on which whole evenings are played."""

from bench.fleet.clock import VirtualLoop, play

__all__ = ["VirtualLoop", "play"]
