"""First station: bytes in from clients over UDP and TCP, replies out."""
