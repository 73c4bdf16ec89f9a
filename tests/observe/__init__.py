"""The files in deploy/ for Prometheus and Grafana, tested with the real Prometheus and gateway."""
