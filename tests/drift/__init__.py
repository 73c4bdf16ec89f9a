"""Check that each dialect's member list covers everything that the official SDKs can send."""
