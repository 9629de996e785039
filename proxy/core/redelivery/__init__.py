"""A recorded answer in the other form: whole instead of streamed, streamed instead of whole."""
