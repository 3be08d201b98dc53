"""How a load is said: Spark SQL text, without an import of Spark."""
