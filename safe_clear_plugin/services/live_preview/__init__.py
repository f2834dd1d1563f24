"""Live counts for the form: how much a selection would clear, while an operator fills the form in."""
