"""Programs that build, release and audit the gateway; no installation has them."""
