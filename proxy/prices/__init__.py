"""Prices of models: the table compiled from genai-prices, and the book that reads it."""
