"""Pure planners: what is asked for and what was seen in, what to do out. No clock, no network, no cluster."""
