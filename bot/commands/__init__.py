"""The commands: each starts and runs what ``app.py`` built, and gives an exit code.

Decides nothing about turns or hosts.
"""
