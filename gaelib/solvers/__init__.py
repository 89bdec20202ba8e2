"""How an exact answer is found fast."""
