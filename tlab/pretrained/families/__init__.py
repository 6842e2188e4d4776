"""One file a group of pretrained models that are laid out alike."""
