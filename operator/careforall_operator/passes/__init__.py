"""One pass: look at everything, let the planners decide, carry it out, tell it in the status."""
