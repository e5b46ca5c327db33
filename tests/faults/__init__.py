"""What happens to work that is killed, cut off from its disk, or damaged; `make faults` runs it."""
