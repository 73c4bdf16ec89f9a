"""Identity providers: signing keys, tokens in place of keys, and the sign-in of people."""
