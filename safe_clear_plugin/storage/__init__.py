"""Safe Clear's own tables and what is read from and written to them."""
