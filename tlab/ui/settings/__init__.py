"""From config fields to controls, and from controls to what will be trained; presets and links."""
