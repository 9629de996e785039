"""One file a detector: what it counts at the end of a thread's rounds."""
