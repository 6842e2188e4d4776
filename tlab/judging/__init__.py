"""How to judge runs: what few seeds can say. Numbers in, numbers and words out; nothing here trains anything."""
