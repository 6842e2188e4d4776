"""The Generate tab: text from the trained models, and how each token was chosen."""
