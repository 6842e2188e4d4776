"""The Attention tab: which tokens each head looks at, and why."""
