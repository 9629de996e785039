"""The pure part: decisions and state as values. No I/O, clock, randomness, logging or async."""
