"""Ways out: one Protocol, one module per provider."""
