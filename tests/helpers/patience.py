"""How long the real code waits for a simulated host, where a test says nothing of it."""

from bot.chat import turns
from bot.fleet import lmstudio, reading

GUARD_S = 60.0
"""Only against hanging: a busy machine took over five seconds for a greeting on loopback."""

# As shipped, from 0.3 to 2 seconds: a machine that stood still took as much, and its host was
# of no version, had no token counted, or was not looked at.
lmstudio.GREETING_S = lmstudio.ASK_S = lmstudio.CANCEL_S = GUARD_S
reading.LOOK_S = reading.COUNT_S = GUARD_S

# As shipped half a second and three: an answer began with a line about what let it wait.
turns.SLOW_LOOK_S = turns.SLOW_STORE_S = GUARD_S
