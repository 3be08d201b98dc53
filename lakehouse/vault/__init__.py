"""Raw vault: hubs, links and satellites, append only."""
