"""Decisions: pure functions from frozen snapshots to plans and verdicts; no clock, no I/O."""
