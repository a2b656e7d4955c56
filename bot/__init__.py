"""Lantern: everything that is not Discord. Rooms and floors are described in CONTRIBUTING.md."""
