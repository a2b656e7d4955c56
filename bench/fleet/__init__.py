"""The fleet in virtual time: whole evenings of questions, one policy of routing beside the other.

``trace`` makes up who asks what and when, ``host`` reckons what an LM Studio machine does with it,
``people`` asks, ``figures`` counts. Policies are in ``rivals`` (ways of others), ``dispatch`` and
``bounds`` (what could be reached) and ``lantern`` (the real scheduler, planner and walk). Nothing
here is imported by the program.
"""
