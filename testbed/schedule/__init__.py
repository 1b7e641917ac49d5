"""Knowledge → decision: which experts serve each token, and which subcarrier serves each link."""
