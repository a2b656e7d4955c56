"""Simulated cloud providers on real sockets, for the demo and for every test.

A simulated provider speaks the wire of Z.AI, OpenAI, Anthropic or an OpenAI-compatible gateway as
each was observed: what it refuses, how it streams, counts, fails and says that money is out. It
computes the cost of every request itself and keeps a journal, so that a ledger can be compared
with it. It runs no model and decides nothing for Lantern.
"""
