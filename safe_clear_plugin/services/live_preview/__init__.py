"""What a selection would take, while an operator still makes it."""
