"""One request to one endpoint becomes a stream of deltas; never chooses where to send it."""
