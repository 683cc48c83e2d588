"""Every connection and every statement; foreign errors are translated here."""
