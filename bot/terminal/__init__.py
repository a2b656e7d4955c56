"""Chat in a terminal, with Discord's slash commands and a few of its own (``commands.COMMANDS``)."""
