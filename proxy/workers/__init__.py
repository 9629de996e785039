"""Several processes on one ledger: who lives, how they hear of each other, who starts them anew."""
