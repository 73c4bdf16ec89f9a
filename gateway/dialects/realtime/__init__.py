"""Messages of Realtime and Live sessions, as far as money depends on them. Nothing is rewritten."""
