"""Whether each dialect's member list knows all that the official SDKs can say."""
