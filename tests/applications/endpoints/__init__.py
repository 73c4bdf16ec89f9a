"""Every endpoint of the three official SDKs through one client object each."""
