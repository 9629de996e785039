"""The commands, one file each: `add_arguments` and `run`."""
