"""What a policy would have done to sessions that are over: read, folded and judged, never sent."""
