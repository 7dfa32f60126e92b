"""What people see: the live display of training, and tables. The only room that knows rich."""
