"""The run and the sweep that the app ships, and the scripts that make them."""
