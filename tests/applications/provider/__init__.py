"""A provider on loopback that speaks as five real ones do. Nothing here imports the gateway."""
