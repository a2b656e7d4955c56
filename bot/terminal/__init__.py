"""Chat in a terminal, with Discord's slash commands and its own (``commands.COMMANDS``)."""
