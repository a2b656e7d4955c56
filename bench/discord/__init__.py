"""Lantern as people in Discord see it: plays before a stand-in for Discord, with simulated hosts.

Everything here is real but Discord, the hosts and the provider: `lantern run` is a process of its
own. A play acts as people do, reads what they see over time, and asks of it what must hold.
"""
