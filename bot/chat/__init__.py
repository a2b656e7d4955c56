"""One turn from question to receipt, and what the faces show about choices and hosts."""
