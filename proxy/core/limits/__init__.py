"""The limits of a session, one file each; `registry.py` lists them in the order they are asked."""
