"""What a project says: typed, frozen, validated values."""
