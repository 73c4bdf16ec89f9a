"""The dashboard: pages of this gateway for admins, made of the same figures as /admin has."""
