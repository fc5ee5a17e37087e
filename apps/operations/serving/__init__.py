"""How the server starts: `embedded` runs everything under a supervisor, `roles` one process of it."""
