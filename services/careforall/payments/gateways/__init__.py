"""Other companies: `base` says what we ask of them, one module each."""
