"""What any service needs: its lock, stopping, logs, redaction, its supervisor, its timer.

Knows nothing of hosts, turns or Discord.
"""
