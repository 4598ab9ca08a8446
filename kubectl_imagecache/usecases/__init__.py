"""What the commands do: they join reading, deciding and acting."""
