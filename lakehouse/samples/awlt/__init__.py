"""AdventureWorksLT sample: a bike shop delivered as ten CSV files."""
