"""Safe Clear's tables as a whole: whether they are there, making them, repairing them."""
