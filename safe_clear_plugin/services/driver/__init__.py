"""Carries confirmed clears and undos through, without the browser that asked for them."""
