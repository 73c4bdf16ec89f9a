"""State in Redis or Valkey: one server, Sentinel or a Cluster. The scripts are the `.lua` files."""
