"""HTTP at the edge of every service: problems, limits, identities, lists, operations endpoints."""
