"""What people see: lists, records, units, progress."""
