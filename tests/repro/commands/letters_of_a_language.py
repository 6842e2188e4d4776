"""Spaces and joiners that belong to a language are shown; what a terminal would obey is not."""

from tlab.cli.terminal import visible

for text in ("là\u00a0?", "10\u202f000", "\u3000床前", "می\u200cخواهم", "\U0001f468\u200d\U0001f469"):
    assert visible(text) == text
assert "\x1b" not in visible("\x1b[2J")
print("ok")
