"""LAN hosts: probing, loading, leasing, evicting; never chooses which host answers a turn."""
