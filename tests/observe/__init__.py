"""What Prometheus and Grafana are given in deploy/, held against the real Prometheus and gateway."""
