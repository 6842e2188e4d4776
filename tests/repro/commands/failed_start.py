"""A folder whose run found no memory for its first step can be used again."""

import resource
from pathlib import Path

from workplace import enter_new_folder, succeeded, train

enter_new_folder()
Path("text.txt").write_text("Pack my box with five dozen liquor jugs.\n" * 4000, encoding="utf-8")
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
assert train("--context-length", "256", "--batch-size", "20000").returncode != 0  # scores of 10 GB
assert succeeded(train())
print("ok")
