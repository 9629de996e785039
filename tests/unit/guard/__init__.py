"""Unit tests of the room for guarded calls."""
