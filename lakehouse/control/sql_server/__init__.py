"""A SQL Server as the store of the control catalog."""
