"""A provider on loopback that speaks like five real ones. Nothing here imports the gateway."""
