"""What takes up space, what needs it, and what may go."""
