"""Redis or Valkey: one server, Sentinel or a Cluster; the scripts beside it as `.lua`."""
