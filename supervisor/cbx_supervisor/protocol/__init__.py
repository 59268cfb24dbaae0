"""What travels over the sockets."""
