"""One file a group of pretrained models that are laid out alike."""

from tlab.registry import register_all

register_all(__name__)
