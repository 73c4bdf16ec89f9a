"""The dashboard: pages for admins, with the same figures as under /admin."""
