"""The page around the tabs: what is sent of it, and what it does by itself in the browser."""
