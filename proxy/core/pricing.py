"""Money: prices of models and the cost of usage, in integer micro-USD, rounded up."""
