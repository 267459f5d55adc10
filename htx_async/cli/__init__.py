"""The command `htx-async`: what it reads, how it shows it, and how it ends."""
