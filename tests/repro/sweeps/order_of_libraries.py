"""The same libraries, found in another order, are the same machine."""

from sweeps.store.provenance import changed_since

TWO = [{"internal_api": "openblas", "version": version, "num_threads": 2} for version in ("0.3.30", "0.3.31")]
assert not changed_since({"blas": TWO}, {"blas": TWO[::-1]})
assert changed_since({"blas": TWO}, {"blas": TWO[:1]})
print("ok")
