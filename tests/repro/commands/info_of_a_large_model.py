"""What a model of several billion parameters costs is worked out by arithmetic, without making it."""

import resource

from workplace import enter_new_folder, run, succeeded

enter_new_folder()
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # one of its blocks alone has a GB, and four were made
SIZE = ["--num-layers", "96", "--hidden-dim", "12288", "--num-heads", "96", "--context-length", "2048"]
assert succeeded(run("tlab", "info", "--corpus", "repeat", *SIZE))
print("ok")
