"""How things show themselves in a notebook: tables, pictures, texts by token, and a training while it runs."""
