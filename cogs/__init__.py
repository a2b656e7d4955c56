"""The Discord face: reads an event, calls one thing in ``bot``, shows the result."""
