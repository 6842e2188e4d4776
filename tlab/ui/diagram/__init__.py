"""The chosen model as a drawing: its dataflow, where each part stands, the picture, and the same in words."""
