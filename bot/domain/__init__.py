"""The nouns and errors every room speaks with: frozen values, no input or output, no clock."""
