"""Where jobs, events and transfers are kept."""
