"""Many commands, ordered, remembered and watched."""
