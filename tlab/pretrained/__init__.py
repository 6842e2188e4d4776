"""Models of Hugging Face: which of them the lab's parts can represent, and how each is written as the other."""
