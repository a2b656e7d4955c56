"""Chat in a terminal with the same slash commands as Discord."""
