"""An embedded cloud and cluster on loopback ports, for laptops and tests."""
