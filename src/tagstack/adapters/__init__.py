"""One technology each, speaking domain types outward; no adapter imports another."""
