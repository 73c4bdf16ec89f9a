"""Identity providers: their signing keys, and the tokens that clients send in place of keys."""
