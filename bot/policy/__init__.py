"""Decisions: pure functions from frozen snapshots to plans and verdicts; no clock, no input or output."""
