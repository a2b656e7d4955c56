"""The OpenAI-compatible HTTP face: one address for the whole fleet."""
