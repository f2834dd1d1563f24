"""Safe Clear's own tables, and the queries that read and write them."""
