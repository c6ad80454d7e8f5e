"""Companies to which customers are mirrored: `base` says what each can be asked."""
