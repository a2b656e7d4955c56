"""Cloud providers: who may be asked now, what it may cost, and one call at a time.

Owns limits, breakers, prices and the settling of every call. Never speaks a wire itself, never
touches the database, and never sends words without a ``CloudConsent`` that covers them.
"""
