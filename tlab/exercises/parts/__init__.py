"""The exercises, one file for those about one kind of part."""
