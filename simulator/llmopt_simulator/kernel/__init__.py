"""The compiled event simulation: arrays in, arrays out."""
