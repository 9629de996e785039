"""The wire formats that are governed. One module each, listed in `DIALECTS` in `registry.py`."""
